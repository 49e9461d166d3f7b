"""``polaris config``."""
