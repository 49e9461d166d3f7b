"""JSON APIs, sign-in, SteVe hooks and health."""
