"""Follows chargers, tags and transactions in SteVe."""
