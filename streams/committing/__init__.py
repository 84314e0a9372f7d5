"""One fetch, one Postgres transaction: everything that follows from it and the offset it moves, or nothing.

In reading order: `fetches` (what is tried again, refused or buried), `prepared` (a model's events with their codes),
`commit` (the transaction), `model_commit` (its part for one model), `deltas` and `merging` (summaries that wait for
their slide to close), `statuses` (what became of retraining requests: the other fetch there is).
"""
