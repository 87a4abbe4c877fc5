"""A worker with the mistake that this project is about: each attempt has a reference of its own."""

import secrets
import sys
from unittest.mock import patch

from msgspec.structs import replace

from rewardpost.addresses import PostalAddress
from rewardpost.fulfilment import Fulfilment
from tests.karrio import impatient_worker
from worker import ship_reward
from worker.providers.protocol import Parcel

_parcel = ship_reward._parcel  # noqa: SLF001 - the mistake goes in where the reference is chosen


def run() -> int:
    """Run a worker; return its exit status."""
    with patch.object(ship_reward, "_parcel", _with_a_fresh_reference):
        return impatient_worker.run()


def _with_a_fresh_reference(record: Fulfilment, address: PostalAddress) -> Parcel:
    parcel = _parcel(record, address)
    return replace(parcel, reference=f"{parcel.reference}-x{secrets.token_hex(4)}")


if __name__ == "__main__":
    sys.exit(run())
