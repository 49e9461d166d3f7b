"""Starting, watching and stopping the platform's processes on one machine."""
