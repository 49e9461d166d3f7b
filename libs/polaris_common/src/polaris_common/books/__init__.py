"""The books, read: what the meters say, what the ledger sold, what Lago has."""
