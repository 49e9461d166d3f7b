"""``polaris session``: one charging session, for people."""
