"""From Kafka's log to a worker: whole fetches, each with the position it was read from.

In reading order: `transport` (a partition's fetch as one message), `slices` (how much of it at a time), `positions`
(where the log goes on), `losses` (what it deleted before it was read), `log_times` (how far it is in event time).
"""
