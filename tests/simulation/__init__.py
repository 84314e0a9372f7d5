"""Does the store hold what a single careful reader of the log would write, whatever happens in whatever order?

The real workers, evaluator and relays run on a real Postgres, on a log that stands in for Kafka's, under one seeded
scheduler: of all that could happen next it lets exactly one thing happen, statement by statement, and between any two
of them it may kill a worker, cut a connection, hold a process, move partitions, or lose an answer. A seed is a whole
history: the same seed makes the same choices again.
"""
