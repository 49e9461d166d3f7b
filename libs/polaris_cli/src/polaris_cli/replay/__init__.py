"""``polaris replay``: real session data through the whole platform, and the books compared."""
