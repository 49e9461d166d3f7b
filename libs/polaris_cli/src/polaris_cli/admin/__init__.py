"""``polaris admin``."""
