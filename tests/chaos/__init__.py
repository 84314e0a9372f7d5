"""Does real Driftline, on a real broker and a real Postgres, lose or double anything when these are killed or cut off?

Two workers and a relay read a steady stream of predictions and labels while one thing after the other goes wrong. What
is left behind is compared row by row with `driftline replay` of the same events, which never saw a fault.

`python -m tests.chaos` goes fault by fault, `python -m tests.chaos.soak` makes them at random for half an hour.
"""
