"""What tests stand on: a real Postgres, the best Kafka this machine can give, and their absence said out loud."""
