"""Sending the pushes that wait in the queue."""
