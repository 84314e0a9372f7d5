"""Late truth: predictions meet their labels, and what comes of it."""
