"""Messages to people: signed webhooks."""
