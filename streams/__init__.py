"""The path of the data, from Kafka's log to verdicts.

Decoding, in reading order: `shapes` (where a model's fields stand), `values` (what one JSON value is worth), `messages`
(which events a message holds), `rows` (events one by one: the reference), `sniff` and `columns` (the same, whole groups
at a time), `decode` (a fetch to batches), `files` (the same for data files), `reference` (a file to a profile).
"""
