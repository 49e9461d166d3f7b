"""Jobs: one arq queue per service, and the only way to put something on it.

A job is a hint. Whatever it would do, the owning worker's periodic sweep finds by itself in PostgreSQL, so enqueueing
never raises and a lost Redis costs time, never work.
"""

from polaris_common.jobs.queue import Jobs, JobWorker, Queue

__all__ = ["JobWorker", "Jobs", "Queue"]
