"""The event log for operators' programs: the same events, in the same order, as the streams."""
