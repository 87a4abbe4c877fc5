"""What door and workers expose is what the alerts ask for, and moves with the causes of the alerts."""

import base64
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession
from prometheus_client.parser import text_string_to_metric_families

from cli.embedded_server import EmbeddedServer
from rewardpost import __version__, codec
from rewardpost.metrics import DEAD_LETTER_CODES, FINDING_KINDS, KNOWN_EVENT_TYPES, OTHER, Answer
from rewardpost.queue import OPEN_DELIVERY, SHIP_REWARD
from rewardpost.states import ENDS, State
from tests.builders import body, changed, rewarded
from tests.house import House, Sender, until
from tests.sentinels import free_port

ROOT = Path(__file__).parents[2]
ALERTS = (ROOT / "ops" / "alerts.yml").read_text(encoding="utf-8")

FAILURES = 5
"""So many calls in a row that fail open the circuit."""
TASKS = {OPEN_DELIVERY, SHIP_REWARD, codec.UNREADABLE}
OUTCOMES_OF_DELIVERIES = {
    *("opened", "duplicate_reward", "rolled_back", "nothing_to_roll_back"),
    *("erased", "looked_again", "counted", "dead_letter"),
}
LABELS: Mapping[str, Mapping[str, set[str]]] = {
    "rewardpost_address_lookup_seconds": {"source": {"voucherify", "file"}},
    "rewardpost_address_lookups": {
        "source": {"voucherify", "file"},
        "outcome": {"found", "not_found", "in_line", "try_later"},
    },
    "rewardpost_build_info": {"version": {__version__}},
    "rewardpost_dead_letters": {"code": {*DEAD_LETTER_CODES, OTHER}},
    "rewardpost_deliveries": {"type": {*KNOWN_EVENT_TYPES, OTHER}, "outcome": OUTCOMES_OF_DELIVERIES},
    "rewardpost_findings": {"kind": {*FINDING_KINDS}},
    "rewardpost_fulfilment_transitions": {"state": {*State}},
    "rewardpost_fulfilments": {"state": {*State}},
    "rewardpost_fulfilments_oldest_seconds": {"state": {*State} - ENDS},
    "rewardpost_job_seconds": {"task": TASKS},
    "rewardpost_jobs": {
        "task": TASKS,
        "outcome": {*OUTCOMES_OF_DELIVERIES, "done", "deferred", "gone", "set_aside", "written_anew", "retried"},
    },
    "rewardpost_last_webhook_timestamp_seconds": {"source": {"voucherify", "shipbob"}},
    "rewardpost_late_writes": {"outcome": {"refused", "written"}},
    "rewardpost_leases_lost": {"task": TASKS},
    "rewardpost_limit_circuit_open": {"limit": {"voucherify", "provider:webhook"}},
    "rewardpost_limit_waiting": {"limit": {"voucherify", "provider:webhook"}},
    "rewardpost_provider_call_seconds": {"provider": {"webhook"}},
    "rewardpost_provider_calls": {
        "provider": {"webhook"},
        "outcome": {"applied", "notapplied", "refused", "unknown"},
    },
    "rewardpost_queue_jobs": {"state": {"queued", "deferred", "running"}},
    "rewardpost_queue_wait_seconds": {"task": TASKS},
    "rewardpost_webhooks": {"answer": {*Answer}},
}
"""Every label there is, with all the values that it may have; families that are not named have none."""


class Exposed:
    """What one process exposed at one moment."""

    def __init__(self, text: str) -> None:
        self.families = [
            family for family in text_string_to_metric_families(text) if family.name.startswith("rewardpost_")
        ]
        self.samples = [sample for family in self.families for sample in family.samples]

    @property
    def names(self) -> set[str]:
        """The names of all series."""
        return {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a series; None where there is none."""
        return next((float(each.value) for each in self.samples if (each.name, each.labels) == (name, labels)), None)


class Watched:
    """A house whose door and worker are asked for their metrics."""

    def __init__(self, server: EmbeddedServer, directory: Path) -> None:
        self.server = server
        self.worker_port, self.nobody_listens = free_port(), free_port()
        secret = "whsec_" + base64.b64encode(b"a secret of nobody's").decode()
        self.house = House(
            server,
            directory,
            WORKER_HOST="127.0.0.1",
            WORKER_PORT=str(self.worker_port),
            PROVIDER="webhook",
            WEBHOOK_OUT_URL=f"http://127.0.0.1:{self.nobody_listens}/orders",
            WEBHOOK_OUT_SECRET=secret,
        )
        self.sender = Sender(self.house.url)

    async def send(self, content: bytes) -> int | None:
        """Send one webhook, once."""
        async with ClientSession() as session:
            return await self.sender.send(session, content)

    async def door(self) -> Exposed:
        """Return what the door exposes now."""
        return await _exposed(self.house.port)

    async def worker(self) -> Exposed:
        """Return what the worker exposes now."""
        return await _exposed(self.worker_port)

    async def worker_answers(self) -> bool:
        """Say whether the worker can be asked."""
        try:
            await self.worker()
        except ClientError:
            return False
        return True

    async def shows(self, name: str, least: float, **labels: str) -> None:
        """Wait until the worker shows a series with at least this value."""

        async def is_shown() -> bool:
            value = (await self.worker()).value(name, **labels)
            return value is not None and value >= least

        await until(is_shown)


@pytest.fixture
async def watched(own_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Watched]:
    """A door alone, on a server of its own; a provider that cannot be reached."""
    watched = Watched(own_server, tmp_path)
    await watched.house.open(workers=0)
    yield watched
    own_server.thaw()
    await watched.house.close()


async def _exposed(port: int) -> Exposed:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        return Exposed(await answer.text())


def _expressions() -> Iterator[str]:
    yield from re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE)


def _asked_for() -> set[str]:
    return {name for expression in _expressions() for name in re.findall(r"\brewardpost_\w+", expression)}


def _rewarded(name: str) -> bytes:
    return body(changed(rewarded(), "data.redemption.id", f"r_{name}"))


async def _bring_causes_about(watched: Watched) -> None:
    """Have done to the door and put on the queue what alerts are about."""
    doubtful = changed(rewarded(), "data.redemption.reward.type", "HOLIDAY")
    sent = [_rewarded(str(number)) for number in range(FAILURES)]
    sent += [body(changed(doubtful, "data.redemption.id", "r_doubtful")), b"no JSON"]
    for content in sent:
        assert await watched.send(content) == 202
    async with ClientSession() as session:
        headers = {"X-Voucherify-Signature": "0" * 64}
        async with session.post(watched.house.url, data=b"{}", headers=headers) as answer:
            assert answer.status == 401
    watched.server.freeze()
    assert await watched.send(_rewarded("while_frozen")) == 503
    watched.server.thaw()
    await until(watched.house.ready)


def test_alerts_name_jobs_that_are_scraped() -> None:
    """What an alert asks of a job is asked under the name that the configuration gives it."""
    configured = re.findall(r"job_name: (\S+)", (ROOT / "ops" / "prometheus.yml").read_text(encoding="utf-8"))
    asked_for = re.findall(r'job="([^"]+)"', ALERTS)
    assert asked_for
    assert set(asked_for) <= set(configured)


async def test_causes_move_what_the_alerts_ask_for(watched: Watched) -> None:
    """Every series that an alert names is there, moves with its cause, and has no label that is not known."""
    await _bring_causes_about(watched)
    door = await watched.door()
    assert door.value("rewardpost_webhooks_total", answer="unauthorized") == 1
    assert door.value("rewardpost_webhooks_total", answer="unavailable") == 1
    assert door.value("rewardpost_webhooks_total", answer="stored") == FAILURES + 2

    await watched.house.add_worker()
    await until(watched.worker_answers)
    await watched.shows("rewardpost_limit_circuit_open", 1, limit="provider:webhook")
    await watched.shows("rewardpost_fulfilments", 1, state="needs_attention")
    await watched.shows("rewardpost_dead_letters_waiting", 1)
    await watched.shows("rewardpost_last_webhook_timestamp_seconds", 1, source="voucherify")
    await watched.shows("rewardpost_workers", 1)
    worker = await watched.worker()
    assert worker.value("rewardpost_dead_letters_total", code="not_json") == 1
    assert (worker.value("rewardpost_provider_calls_total", provider="webhook", outcome="notapplied") or 0) >= FAILURES
    used, limit = (worker.value(f"rewardpost_redis_memory_{which}_bytes") for which in ("used", "limit"))
    assert used is not None
    assert limit is not None
    assert 0 < used < limit
    assert (worker.value("rewardpost_queue_wait_seconds_count", task=OPEN_DELIVERY) or 0) >= FAILURES + 2
    assert worker.value("rewardpost_address_lookups_total", source="file", outcome="found") is not None

    assert _asked_for() - (worker.names | door.names) == set()
    assert _unknown_labels(worker) == set()
    assert _unknown_labels(door) == set()


def _unknown_labels(exposed: Exposed) -> set[str]:
    """Return every label, or value of one, that is not in the table."""
    unknown = set()
    for family in exposed.families:
        known = LABELS.get(family.name.removesuffix("_created"), {})
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le" and value not in known.get(label, set()):
                    unknown.add(f"{family.name} {label}={value}")
    return unknown
