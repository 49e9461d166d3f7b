"""``polaris demo``: everything on this machine, with cars that charge."""
