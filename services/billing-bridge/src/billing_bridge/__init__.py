"""The energy ledger and its delivery to Lago."""
