"""Waking devices by Apple's push service."""
