"""Driftline watches machine-learning models in production: drift and live accuracy, from Kafka into Postgres.

This package is the kernel: events, settings, errors, clock, storage, wiring and the command line. The path of the data
lives in `streams`, the statistics in `detectors`, the late labels in `labels_join`.
"""

__version__ = "0.1.0"
