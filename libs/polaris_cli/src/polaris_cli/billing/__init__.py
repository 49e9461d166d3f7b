"""``polaris billing``: the books, for people."""
