"""A worker process: from its start to its first job, and what it then needs in memory."""

import time
from collections import defaultdict

import redis

from bench import house
from bench.context import Context
from bench.deliveries import write_addresses
from bench.figures import Part, Row, median
from bench.processes import fresh_server, resident_mb

_STARTS_A_ROUND = 3
_SETTINGS = (
    "`python -m worker` with a delivery waiting, from its exec to the moment in which the delivery is settled; "
    "resident memory (VmRSS) after that, and after a thousand more; Valkey with appendfsync always"
)


def measure(context: Context) -> Part:
    """Start workers, and end them."""
    found: dict[str, list[float]] = defaultdict(list)
    addresses = house.scratch("addresses.csv")
    write_addresses(addresses, 1001)
    for number in range(context.rounds * _STARTS_A_ROUND):
        context.say(f"starting a worker, {number + 1} of {context.rounds * _STARTS_A_ROUND}")
        _start(found, str(addresses))
    rows = [
        Row(
            what="a worker process, start to first job",
            measured=median(found["seconds"]),
            unit="s",
            demanded=0.7,
            at_most=True,
        ),
        Row(
            what="a worker process, resident memory",
            measured=median(found["MB after the first job"]),
            unit="MB",
            demanded=70,
            at_most=True,
            note=f"{median(found['MB after a thousand more']):.1f} MB after a thousand more",
        ),
    ]
    return Part(rows=rows, raw=found, settings=_SETTINGS)


def _start(found: dict[str, list[float]], addresses: str) -> None:
    with fresh_server(durable=True) as server, redis.Redis.from_url(server.url) as client:
        house.store(server.tcp_url, 1)
        started = time.monotonic()
        with house.worker(server.tcp_url, ADDRESS_FILE=addresses) as process:
            settled = house.wait_for(lambda: client.exists(*_marker(client)), process, seconds=30, every=0.002)
            found["seconds"].append(settled - started)
            house.wait_for(lambda: house.submitted(client), process, seconds=10, every=0.01)
            found["MB after the first job"].append(resident_mb(process.pid))
            house.store(server.tcp_url, 1000, first=1)
            house.wait_for(lambda: house.submitted(client) == 1001, process, seconds=30, every=0.02)  # noqa: PLR2004 - all of them
            found["MB after a thousand more"].append(resident_mb(process.pid))


def _marker(client: redis.Redis) -> list[bytes]:
    waiting: list[bytes] = client.keys(f"{house.KEYS.prefix}delivery:*")  # type: ignore[assignment] # redis-py types both its clients with one signature
    return waiting or [b"nothing yet"]
