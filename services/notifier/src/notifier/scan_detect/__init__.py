"""The stream that tells a visitor that their card was read (contract §6.4)."""
