"""Domain events: the catalogue, the outbox they are appended to and the relay that numbers them."""
