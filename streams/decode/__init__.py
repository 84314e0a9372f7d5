"""Decoding: messages and data files become batches of columns, and what can't be used becomes a dead letter.

In reading order: `shapes` (where a model's fields stand), `routing` (which model and kind an event is), `messages`
(what one message holds), `rows` (one event after the other), `columns` (many alike at once), `decoder` (which of both
when), `files` (the same for data files).
"""
