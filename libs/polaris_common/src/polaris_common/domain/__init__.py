"""Rules that several services need: one module a rule, pure functions over values."""
