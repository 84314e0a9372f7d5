"""From Postgres to Kafka: at least once, with ids, in order.

In reading order: `publish` (a message into a topic, or why not), `relay` (the outbox and the dead letters), and
`dead_letters` (what could not be used, and how it comes back).
"""
