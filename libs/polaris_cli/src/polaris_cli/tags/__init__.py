"""``polaris tags``: what an operator says about tags."""
