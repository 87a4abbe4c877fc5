"""Every key that the project writes, in one place, with its time to live or the reason that it has none.

All of ours start with `{<prefix>}`: the braces are a Redis Cluster hash tag, so that the queue's jobs and the
ledger of one installation share a slot. The prefixes of arq's keys are constants of arq; job ids carry the tag.

| key | type | holds | lives |
| --- | --- | --- | --- |
| `arq:queue…` | sorted set | waiting and running jobs by due time | while jobs wait |
| `arq:queue…:wake-up` | list | at most one element, for whichever idle worker takes it | until it is taken |
| `arq:queue…:paused` | string | why the queue is paused | until a person resumes it |
| `arq:job:<job>` | string | a job's payload | until the job ends: no age may drop a webhook |
| `arq:in-progress:<job>` | string | the token of the worker that holds the job | the lease |
| `arq:retry:<job>` | string | how often the job was claimed | `TRIES_LIFE` after the latest claim |
| `delivery:<id>` | string | that this delivery was settled | `DELIVERY_MEMORY` |
| `dead-letters` | sorted set | ids of dead letters by time | while there are any |
| `dead-letter:<id>` | hash | a dead letter, whole | `DEAD_LETTER_LIFE` |
| `fulfilment:<reference>` | hash | one reward's record | `RECORD_LIFE` after its end |
| `journal:<reference>` | list | its changes of state | as its record |
| `personal:<reference>` | string | all that is personal about it | `RETENTION_DAYS` after it is settled |
| `done:<bucket>` | hash | references that ended, with the end | for ever: the last guard against a second parcel |
| `state:<state>` | sorted set | references in a state by time of change | members leave with the record |
| `of:<customer>` | set | a customer's references | `RECORD_LIFE` after the last one |
| `holds` | hash | what is held, and why | until released by a person |
| `installed-at` | string | the moment of installation | for ever: `SHIP_SINCE` counts from it |
| `workers` | sorted set | live workers by their last sign of life | while a worker lives |
| `watch` | hash | the last sign of life of any worker, and since when there was no gap | for ever: one key |
| `turns:<limit>` | sorted set | who waits for a turn to call, by ticket | a day after the last turn |
| `missed:<limit>` | sorted set | who was not there at its turn, by ticket | the same |
| `limit:<limit>` | hash | when the next call may be made, the circuit, how long calls take | the same |
| `calls:<limit>` | sorted set | running calls by deadline | a day after the last deadline |
| `audits` | hash | where each audit goes on | for ever: one field for each audit |
| `findings` | hash | what the audits found, by digest | `FINDING_LIFE` after the latest one |
| `heard` | sorted set | senders by the time of their latest delivery | for ever: one member for each sender |
| `events` | hash | how many events of each type were handled | for ever: one field for each known type |
"""

import zlib
from datetime import timedelta

from arq.constants import (
    default_queue_name,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

from rewardpost.states import State

DEFAULT_PREFIX = "rewardpost"

DELIVERY_MEMORY = timedelta(days=7)
"""The sender repeats for a day; what comes later is recognised by the ledger."""
DEAD_LETTER_LIFE = timedelta(days=90)
"""A dead letter that cannot be read cannot be erased by customer either, so it must not stay for ever."""
TRIES_LIFE = timedelta(days=30)
"""How long it is remembered how often a job was tried: longer than all its tries take."""
RECORD_LIFE = timedelta(days=400)
"""A year and a month, for the yearly accounts."""

_DONE_BUCKETS = 4096


class Keys:
    """The names of all keys of one installation."""

    def __init__(self, prefix: str) -> None:
        self.tag = f"{{{prefix}}}"
        self.prefix = f"{self.tag}:"
        # With the default prefix the queue is arq's own default, so that arq's tools find it untold.
        self.queue = default_queue_name if prefix == DEFAULT_PREFIX else f"{default_queue_name}:{self.tag}"
        self.wake_up = wake_up(self.queue)
        self.paused = paused(self.queue)
        self.dead_letters = f"{self.prefix}dead-letters"
        self.holds = f"{self.prefix}holds"
        self.installed_at = f"{self.prefix}installed-at"
        self.events = f"{self.prefix}events"
        self.workers = f"{self.prefix}workers"
        self.watch = f"{self.prefix}watch"
        self.audits = f"{self.prefix}audits"
        self.findings = f"{self.prefix}findings"
        self.heard = f"{self.prefix}heard"

    def delivery_job(self, delivery: str) -> str:
        """Return the job id of the task that opens this delivery."""
        return f"{self.tag}:delivery:{delivery}"

    def reward_job(self, reference: str) -> str:
        """Return the job id of the task that carries this reward out."""
        return f"{self.tag}:reward:{reference}"

    def job(self, job_id: str) -> str:
        """Return arq's key of a job's payload."""
        return f"{job_key_prefix}{job_id}"

    def in_progress(self, job_id: str) -> str:
        """Return arq's key that marks a job as running."""
        return f"{in_progress_key_prefix}{job_id}"

    def retry(self, job_id: str) -> str:
        """Return arq's key that counts a job's tries."""
        return f"{retry_key_prefix}{job_id}"

    def result(self, job_id: str) -> str:
        """Return arq's key of a job's result."""
        return f"{result_key_prefix}{job_id}"

    def job_parts(self, job_id: str) -> tuple[str, str, str, str]:
        """Return the keys that a script needs to end, defer or enqueue a job: queue, payload, in-progress, retry."""
        return self.queue, self.job(job_id), self.in_progress(job_id), self.retry(job_id)

    def delivery(self, delivery: str) -> str:
        """Return the key that remembers a settled delivery."""
        return f"{self.prefix}delivery:{delivery}"

    def dead_letter(self, delivery: str) -> str:
        """Return the key of a dead letter."""
        return f"{self.prefix}dead-letter:{delivery}"

    def fulfilment(self, reference: str) -> str:
        """Return the key of a reward's record."""
        return f"{self.prefix}fulfilment:{reference}"

    def journal(self, reference: str) -> str:
        """Return the key of a reward's journal."""
        return f"{self.prefix}journal:{reference}"

    def personal(self, reference: str) -> str:
        """Return the key of a reward's personal data."""
        return f"{self.prefix}personal:{reference}"

    def done(self, reference: str) -> str:
        """Return the key of the bucket that holds a reward's done-marker; small hashes cost a third of single keys."""
        return f"{self.prefix}done:{zlib.crc32(reference.encode()) % _DONE_BUCKETS:03x}"

    def turns(self, limit: str) -> str:
        """Return the key of the line of those that wait for a turn at a limit."""
        return f"{self.prefix}turns:{limit}"

    def missed(self, limit: str) -> str:
        """Return the key of those that were not there when their turn at a limit came."""
        return f"{self.prefix}missed:{limit}"

    def limit(self, limit: str) -> str:
        """Return the key of how a limit stands."""
        return f"{self.prefix}limit:{limit}"

    def calls(self, limit: str) -> str:
        """Return the key of the running calls at a limit."""
        return f"{self.prefix}calls:{limit}"

    def state(self, state: State) -> str:
        """Return the key of the index of references in a state."""
        return f"{self.prefix}state:{state}"

    def customer(self, customer: str) -> str:
        """Return the key of the index of a customer's references."""
        return f"{self.prefix}of:{customer}"


def wake_up(queue: str) -> str:
    """Return the key of the list that wakes an idle worker of this queue."""
    return f"{queue}:wake-up"


def paused(queue: str) -> str:
    """Return the key that pauses this queue."""
    return f"{queue}:paused"
