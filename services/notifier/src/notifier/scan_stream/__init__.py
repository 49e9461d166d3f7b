"""The stream of a registered device: requests to read a card, and what its app must ask for anew."""
