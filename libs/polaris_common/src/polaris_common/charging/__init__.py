"""Tables that several services use, each with the one repository that may write it."""
