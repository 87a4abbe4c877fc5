"""Reconcilers: what looks, again and again, for rewards that went missing or are there twice.

Four of them run as cron jobs of the engine, each tick on one of all workers, and all of them in `rewardpost audit`:

* `sweep`, every minute: rewards that should have a job and have none get it back;
* `voucherify`, every ten minutes: redemptions whose webhook never came are taken in as if it had;
* `provider`, hourly: orders at the provider that the ledger does not know, or that are there twice;
* `silence`, hourly: no webhook for longer than `VOUCHERIFY_SILENCE_HOURS`.

There is no fifth one that asks providers what became of orders: each reward's own job does that and comes again by
itself, and the sweep sees to it that there is such a job.
"""
