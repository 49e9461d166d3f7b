"""The polaris command."""
