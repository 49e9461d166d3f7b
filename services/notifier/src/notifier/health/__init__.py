"""Whether the process lives and may be sent traffic."""
