"""What was found, made visible."""
