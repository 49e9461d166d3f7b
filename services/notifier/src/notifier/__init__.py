"""Server-sent events and the event relay."""
