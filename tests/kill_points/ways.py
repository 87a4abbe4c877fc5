"""The ways of a reward on which its worker is killed: what happens around it, and each point that the worker passes."""

from collections.abc import Mapping

import msgspec

from rewardpost.states import State
from tests.ledger_shop import LedgerShop
from worker.providers.protocol import Progress


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way of a reward from its webhook to where it rests."""

    points: tuple[str, ...]
    """All points of a worker that nobody kills, in order."""
    killed_from: str
    """The first point at which the worker is killed; those before are points of another way too."""
    end: State
    live: int
    """Live orders at the end."""
    lost_request: str | None = None
    """Of which call to the shop the first request is lost."""
    lost_answer: str | None = None
    """Of which call the first answer is."""
    refused: bool = False
    """Whether the shop refuses the order."""
    rewarded_after: str = ""
    """The point after which the reward's webhook comes; empty: at once."""
    rolled_back_after: str | None = None
    """The same of its rollback; None: there is none."""
    retried_after: str | None = None
    """The same of an operator who has it tried again."""
    progress: Progress = Progress.OPEN
    """How far an order is as soon as the shop has it."""
    settings: Mapping[str, str] = {}

    @property
    def kills(self) -> tuple[str, ...]:
        """The points at which the worker is killed."""
        return self.points[self.points.index(self.killed_from) :]

    def shop(self) -> LedgerShop:
        """Return the shop of this way."""
        shop = LedgerShop(progress=self.progress, refuses=self.refused)
        shop.lose_requests += [self.lost_request] if self.lost_request else []
        shop.lose_answers += [self.lost_answer] if self.lost_answer else []
        return shop


def _step(name: str, time: str = "") -> tuple[str, ...]:
    return f"before {name}{time}", f"after {name}{time}"


def _call(name: str, time: str = "") -> tuple[str, ...]:
    return f"before {name}{time}", f"during {name}{time}", f"after {name}{time}"


_ROLLED_BACK = "rolled back at Voucherify"
_CONFIRMED = "write submitted (the provider confirmed the cancelling)"
_RECEIVED = (*_step("write received"), *_step("write ready + dispatching"))
_HELD = "write ready + ready (held: shadow run (DISPATCH=hold))"
_TIME_TO_ROLL_BACK = {"PROVIDER_QUIET_SECONDS": "2"}
_UNKNOWN = (*_step("write unknown"), *_step("defer job"))

WAYS: Mapping[str, Way] = {
    "shipped": Way(
        points=(*_RECEIVED, *_call("submit"), *_step("write submitted")),
        killed_from="before write received",
        end=State.SUBMITTED,
        live=1,
    ),
    "answer lost": Way(
        points=(*_RECEIVED, *_call("submit"), *_UNKNOWN, *_call("find"), *_step("write submitted")),
        killed_from="before write unknown",
        end=State.SUBMITTED,
        live=1,
        lost_answer="submit",
    ),
    "request lost": Way(
        points=(
            *_RECEIVED,
            *_step("submit"),
            *_UNKNOWN,
            *_call("find"),
            *_step("write ready"),
            *_step("write dispatching"),
            *("before submit 2", "during submit", "after submit 2"),
            *_step("write submitted"),
        ),
        killed_from="before write unknown",
        end=State.SUBMITTED,
        live=1,
        lost_request="submit",
    ),
    "refused": Way(
        points=(
            *_RECEIVED,
            *_call("submit"),
            *_step("write unknown"),
            *_call("find"),
            *_step("write unknown (not at the provider yet; looked for once more later)"),
            *_call("find", " 2"),
            *_step("write needs_attention"),
        ),
        killed_from="before write unknown",
        end=State.NEEDS_ATTENTION,
        live=0,
        refused=True,
    ),
    "delivered": Way(
        points=(
            *_RECEIVED,
            *_call("submit"),
            *_step("write submitted"),
            *("before status", "before find", "during find", "after find", "after status"),
            *_step("write shipped + delivered"),
        ),
        killed_from="before status",
        end=State.DELIVERED,
        live=1,
        progress=Progress.DELIVERED,
        settings={"PROVIDER_POLL_MINUTES": "0.01"},
    ),
    "cancelled": Way(
        points=(
            *_RECEIVED,
            *_call("submit"),
            *_step("write submitted"),
            *_step(f"write submitted ({_ROLLED_BACK})"),
            *_call("cancel"),
            *_step(_CONFIRMED),
            *_call("find"),
            *_step("write cancelled"),
        ),
        killed_from=f"before write submitted ({_ROLLED_BACK})",
        end=State.CANCELLED,
        live=0,
        rolled_back_after="after write submitted",
    ),
    "cancelling lost": Way(
        points=(
            *_RECEIVED,
            *_call("submit"),
            *_step("write submitted"),
            *_step(f"write submitted ({_ROLLED_BACK})"),
            *_step("cancel"),
            *_step("write submitted (the cancelling's outcome is unknown)"),
            *_call("find"),
            *_step("write submitted (a live order was found after the cancelling)"),
            *("before cancel 2", "during cancel", "after cancel 2"),
            *_step(_CONFIRMED),
            *_call("find", " 2"),
            *_step("write cancelled"),
        ),
        killed_from="before write submitted (the cancelling's outcome is unknown)",
        end=State.CANCELLED,
        live=0,
        lost_request="cancel",
        rolled_back_after="after write submitted",
    ),
    "cancelled while unknown": Way(
        points=(
            *_RECEIVED,
            *_call("submit"),
            *_UNKNOWN,
            *_step(f"write unknown ({_ROLLED_BACK})"),
            *_step("defer job", " 2"),
            *_call("find"),
            *_step("write submitted"),
            *_call("cancel"),
            *_step(_CONFIRMED),
            *_call("find", " 2"),
            *_step("write cancelled"),
        ),
        killed_from=f"before write unknown ({_ROLLED_BACK})",
        end=State.CANCELLED,
        live=0,
        lost_answer="submit",
        rolled_back_after="after defer job",
        settings=_TIME_TO_ROLL_BACK,
    ),
    "cancelled while absent": Way(
        points=(
            *_RECEIVED,
            *_step("submit"),
            *_UNKNOWN,
            *_step(f"write unknown ({_ROLLED_BACK})"),
            *_step("defer job", " 2"),
            *_call("find"),
            *_step("write ready + cancelled"),
        ),
        killed_from=f"before write unknown ({_ROLLED_BACK})",
        end=State.CANCELLED,
        live=0,
        lost_request="submit",
        rolled_back_after="after defer job",
        settings=_TIME_TO_ROLL_BACK,
    ),
    "cancelled before the call": Way(
        points=(
            *_step("write received"),
            *_step(_HELD),
            *_step("write cancelled"),
        ),
        killed_from=f"before {_HELD}",
        end=State.CANCELLED,
        live=0,
        rolled_back_after=f"after {_HELD}",
        settings={"DISPATCH": "hold"},
    ),
    "held": Way(
        points=(*_step("write received"), *_step(_HELD), *_step("end job")),
        killed_from="before end job",
        end=State.READY,
        live=0,
        retried_after=f"after {_HELD}",
        settings={"DISPATCH": "hold"},
    ),
    "rolled back first": Way(
        points=(*_step("write tombstone"),),
        killed_from="before write tombstone",
        end=State.TOMBSTONE,
        live=0,
        rewarded_after="after write tombstone",
        rolled_back_after="",
    ),
}
