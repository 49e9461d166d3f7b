"""Mail: a durable queue, templates, and the Worker that delivers."""
