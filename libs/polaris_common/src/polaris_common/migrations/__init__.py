"""Schema migrations: forward only. ``python -m polaris_common.migrations`` brings a database up to date."""
