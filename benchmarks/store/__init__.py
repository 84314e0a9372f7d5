"""Does the store stay fast? A month of what the system writes, the size of it, and the time of every query on it."""
