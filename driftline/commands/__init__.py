"""One module for each command; it exports the command as `command`, and is imported only when that is run."""
