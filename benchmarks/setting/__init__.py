"""What stands ready before a row is measured: services, a model, its events in topics, and the answer there must be."""
