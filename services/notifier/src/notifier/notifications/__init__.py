"""Turning what happened into what people are told."""
