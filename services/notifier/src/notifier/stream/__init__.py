"""Server-sent events: the hub that follows the event log and the connections it feeds."""
