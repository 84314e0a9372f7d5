"""From verdicts to episodes and retraining requests, and the consumer that runs a retraining."""
