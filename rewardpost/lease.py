"""The lease: a worker's hold on one job, for as long as its token stands on the job's mark.

A token is made anew at each claim, so that a run which has lost its lease is told from every later run of the job,
one by the same worker included.
"""

from typing import NamedTuple


class Lease(NamedTuple):
    """A job in hand."""

    job_id: str
    token: str


class LeaseLost(Exception):  # noqa: N818 - an everyday answer, not a fault
    """Another worker may have the job by now; nothing was written."""
