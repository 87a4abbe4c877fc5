"""A worker for runs in which most calls fail: it waits seconds where a worker waits minutes, so that the run ends.

Only the longest waits are cut: the circuit's, those between look-ups and those between attempts. All of them keep
calls back and none of them makes a call safe, so such a run is harder for the worker, not easier.
"""

import contextlib
import sys
from datetime import timedelta
from unittest.mock import patch

from msgspec.structs import replace

from rewardpost.limits import provider_limit
from rewardpost.settings import Settings
from rewardpost.turns import Limit
from worker import backoff, composition, shipping
from worker.__main__ import main

_CIRCUIT = timedelta(milliseconds=300)
_LONGEST = timedelta(seconds=5)


def run() -> int:
    """Run a worker; return its exit status."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(composition, "provider_limit", _limit))
        stack.enter_context(patch.object(shipping, "_LATEST_LOOK", _LONGEST))
        stack.enter_context(patch.object(backoff, "_LONGEST", _LONGEST))
        return main()


def _limit(settings: Settings, call_timeout: timedelta) -> Limit:
    return replace(provider_limit(settings, call_timeout), first_pause=_CIRCUIT, longest_pause=_CIRCUIT)


if __name__ == "__main__":
    sys.exit(run())
