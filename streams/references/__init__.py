"""What a model's windows are compared with, and how that changes.

In reading order: `reference` (a file becomes a profile; `relation`, what goes with its features), `warm_up` and
`freeze` (the first events become one), `accept` and `stretch` (a stretch of what was seen becomes one: "this is the new
normal").
"""
