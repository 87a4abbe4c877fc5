"""Whole webhooks through one worker process: decode, open, look the address up in a file, ship, settle; all synced."""

import time
from collections import defaultdict

import redis

from bench import house
from bench.context import Context
from bench.deliveries import write_addresses
from bench.figures import Part, Row, median, shown
from bench.processes import Broken, fresh_server

_SETTINGS = (
    "one `python -m worker` with its default of 100 slots, log level INFO to a file, addresses from a file; 4 kB "
    "deliveries that wait when it starts; from the first parcel to the last; Valkey with appendfsync always, over TCP"
)


def measure(context: Context) -> Part:
    """Measure with both providers that need no account."""
    webhooks = 20_000 if context.full else 6_000
    addresses = house.scratch("addresses.csv")
    write_addresses(addresses, webhooks)
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(context.rounds):
        for provider in ("manual", "webhook"):
            context.say(f"whole webhooks, round {number + 1} of {context.rounds}: provider {provider}")
            with house.receiver() as port:
                more = house.provider_environment(port) if provider == "webhook" else {}
                found[provider].append(_rate(webhooks, ADDRESS_FILE=str(addresses), **more))
                if provider == "webhook" and house.counts(port)["orders"]["taken"] != webhooks:
                    raise Broken("expected one parcel for each webhook at the receiver")
    rows = [
        Row(
            what=f"whole webhooks through one worker, a second: {name}",
            measured=median(found[provider]),
            demanded=1500,
            aim=3000,
            note=f"each round: {', '.join(shown(rate) for rate in found[provider])}",
        )
        for provider, name in (
            ("manual", "a provider that answers at once (`manual`)"),
            ("webhook", "`webhook` to a local receiver, one POST each"),
        )
    ]
    return Part(rows=rows, raw={"webhooks a second": found}, settings=_SETTINGS)


def _rate(webhooks: int, **environment: str) -> float:
    with fresh_server(durable=True) as server, redis.Redis.from_url(server.url) as client:
        house.store(server.tcp_url, webhooks)
        with house.worker(server.tcp_url, **environment) as process:
            first = house.wait_for(lambda: house.submitted(client), process, seconds=30, every=0.005)
            before = house.submitted(client)
            last = house.wait_for(lambda: house.submitted(client) == webhooks, process, seconds=120, every=0.02)
            house.wait_for(lambda: not client.zcard(house.KEYS.queue), process, seconds=10, every=0.02)
            settled = time.monotonic()
    return (webhooks - before) / (max(last, settled) - first)
