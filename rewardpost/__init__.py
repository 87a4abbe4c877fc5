"""What all processes share: deliveries, the queue, the ledger and its states, dead letters, settings."""

__version__ = "0.1.0"
