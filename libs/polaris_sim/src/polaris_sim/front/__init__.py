"""The demo's front port: what a reverse proxy is in production, and two small pages to look at."""
