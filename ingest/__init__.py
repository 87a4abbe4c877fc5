"""The door: takes webhooks in and never opens them; knows signatures and sizes, no events and no ledger."""
