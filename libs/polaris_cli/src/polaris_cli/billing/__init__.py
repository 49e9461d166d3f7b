"""``polaris billing`` and ``polaris session``: the books, for people."""
