"""Every metric of the project in one place; labels are bounded sets and hold nothing personal.

Each process exposes what it counted itself; what waits in Redis is exposed by the workers, see `worker.gauges`.
"""

from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram

from rewardpost import __version__

OTHER = "other"
"""The label of whatever is not in a label's known set."""

KNOWN_EVENT_TYPES = frozenset(
    {
        "customer.rewarded",
        "redemption.rollback.succeeded",
        "customer.redemption.rollback.succeeded",
        "customer.deleted",
        "shipbob_hint",
    },
)
"""Event types that have a label of their own; the sender adds types without notice."""

DEAD_LETTER_CODES = frozenset(
    {
        "attempts_spent",
        "contradiction",
        "no_customer",
        "no_envelope",
        "no_redemption",
        "not_an_object",
        "not_json",
        "other_project",
        "too_deep",
        "unreadable_job",
        "wrong_type",
    },
)
"""Why deliveries are set aside."""
FINDING_KINDS = frozenset(
    {
        "missed_reward",
        "missed_rollback",
        "order_for_ended",
        "silence",
        "two_orders",
        "unknown_order",
        "unreadable_redemption",
        "unrecorded_order",
    },
)
"""What audits can find."""

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
_SPANS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400, 604_800)
_SIZES = (256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)


class Answer(StrEnum):
    """How the door answered a webhook."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


BUILD_INFO = Gauge(
    "rewardpost_build_info", "Always 1; the label tells the release.", ["version"], multiprocess_mode="max"
)
BUILD_INFO.labels(__version__).set(1)
WEBHOOKS = Counter("rewardpost_webhooks", "Webhooks by how the door answered.", ["answer"])
ACKNOWLEDGE_SECONDS = Histogram(
    "rewardpost_webhook_acknowledge_seconds",
    "From the last byte of a webhook to its acknowledgement.",
    buckets=_QUICK,
)
BODY_BYTES = Histogram(
    "rewardpost_webhook_body_bytes",
    "Size of the bodies of acknowledged webhooks, decompressed.",
    buckets=_SIZES,
)
DELIVERIES = Counter("rewardpost_deliveries", "Deliveries handled by event type and outcome.", ["type", "outcome"])
DECIDE_SECONDS = Histogram(
    "rewardpost_delivery_decide_seconds", "How long it took to decode a delivery and to decide.", buckets=_QUICK
)
DEAD_LETTERS = Counter("rewardpost_dead_letters", "Deliveries that were set aside, by reason.", ["code"])
QUEUE_WAIT_SECONDS = Histogram(
    "rewardpost_queue_wait_seconds",
    "How long a job had been due when a worker began with it; for a delivery that is new, since it was stored.",
    ["task"],
    buckets=_WAITS,
)
JOBS = Counter("rewardpost_jobs", "Runs of jobs by task and outcome.", ["task", "outcome"])
JOB_SECONDS = Histogram("rewardpost_job_seconds", "How long one run of a job took.", ["task"], buckets=_LONG)
LEASES_LOST = Counter(
    "rewardpost_leases_lost", "Jobs that another worker may have taken while they still ran here, by task.", ["task"]
)
LATE_WRITES = Counter(
    "rewardpost_late_writes",
    "What a run wrote after its lease was lost: refused, or written where only it knew the outcome.",
    ["outcome"],
)
UNKNOWN_TASKS = Counter(
    "rewardpost_unknown_tasks", "Jobs left on the queue because this release does not know their task."
)
TRANSITIONS = Counter("rewardpost_fulfilment_transitions", "Fulfilments that entered a state.", ["state"])
PROVIDER_CALLS = Counter(
    "rewardpost_provider_calls",
    "Calls to a provider by the class of their outcome.",
    ["provider", "outcome"],
)
PROVIDER_CALL_SECONDS = Histogram(
    "rewardpost_provider_call_seconds",
    "How long one call to a provider took.",
    ["provider"],
    buckets=_LONG,
)
ADDRESS_LOOK_UPS = Counter(
    "rewardpost_address_lookups",
    "Address look-ups by source and outcome.",
    ["source", "outcome"],
)
ADDRESS_LOOK_UP_SECONDS = Histogram(
    "rewardpost_address_lookup_seconds",
    "How long one source took to answer where an address is.",
    ["source"],
    buckets=_LONG,
)
SUBMIT_SECONDS = Histogram(
    "rewardpost_reward_submit_seconds",
    "From the receipt of a reward's webhook to the provider having its order.",
    buckets=_SPANS,
)
FINDINGS = Counter("rewardpost_findings", "What audits found, each once, by kind.", ["kind"])
TAKEN_IN = Counter("rewardpost_taken_in", "Redemptions and rollbacks at Voucherify whose webhook had not come.")
JOBS_RESTORED = Counter("rewardpost_jobs_restored", "Rewards whose job was missing and was given back.")

# A rate over a counter that is not there yet misses its first increase.
for _answer in Answer:
    WEBHOOKS.labels(_answer)
for _code in (*DEAD_LETTER_CODES, OTHER):
    DEAD_LETTERS.labels(_code)
for _kind in FINDING_KINDS:
    FINDINGS.labels(_kind)
for _outcome in ("refused", "written"):
    LATE_WRITES.labels(_outcome)


def event_type_label(event_type: str) -> str:
    """Return the label of an event type, which is any text that the sender chose."""
    return event_type if event_type in KNOWN_EVENT_TYPES else OTHER


def dead_letter_label(code: str) -> str:
    """Return the label of the reason why a delivery was set aside."""
    return code if code in DEAD_LETTER_CODES else OTHER
