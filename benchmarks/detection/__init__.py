"""Which detector raises the fewest false alarms and still finds changes, ours or a peer's? And before any label?

A development-only package. Streams are seeded, or real data with changes injected; every detector sees the same ones,
with its own defaults. Peers run in environments of their own, since their pins conflict, as programs that read the
streams and write the places of their alarms; what these are worth is computed here, by one yardstick, which an
always-alarm and a never-alarm row make visible.
"""
