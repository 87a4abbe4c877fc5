"""What waits for a turn at a limit, and when it will be through, for `rewardpost stats`."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from cli.desk import Desk
from cli.output import moment
from cli.records import Data
from rewardpost.limits import VOUCHERIFY, Limits, provider_limit, voucherify_limit
from rewardpost.queue import Depth
from rewardpost.settings import Settings
from rewardpost.states import State
from rewardpost.turns import LimitState, through_in


async def waiting(desk: Desk, depth: Depth, counts: Mapping[State, int]) -> Data:
    """Return the parts `limits` and `through_seconds` of `stats --json`."""
    limits = Limits(desk.redis, desk.keys)
    look_ups = await limits.state(voucherify_limit(desk.settings))
    provider_limited = provider_limit(desk.settings)
    provider = await limits.state(provider_limited)
    received = counts[State.RECEIVED]
    # Each of these rewards has a job; what is left of the jobs are deliveries.
    with_job = received + provider.waiting + counts[State.DISPATCHING] + counts[State.UNKNOWN]
    through = through_in(
        look_ups,
        provider if desk.settings.provider != "manual" else None,
        received=received,
        deliveries=max(depth.queued + depth.deferred + depth.running - with_job, 0),
        each_asks=asks_first(desk.settings),
    )
    return {
        "limits": {VOUCHERIFY: _shown(look_ups), provider_limited.name: _shown(provider)},
        "through_seconds": _seconds(through),
    }


def asks_first(settings: Settings) -> bool:
    """Tell whether each reward's address is asked for at Voucherify first, so that each needs a turn there."""
    configured = {"voucherify": bool(settings.voucherify_app_id), "file": settings.address_file is not None}
    return next((name for name in settings.address_sources if configured.get(name)), None) == "voucherify"


def rows(limits: Mapping[str, Data], through_seconds: float | None, now: datetime) -> list[tuple[str, str]]:
    """Return the same for a person: what waits, what is paused, and until when it takes."""
    found = []
    for name, state in limits.items():
        if state["waiting"]:
            found.append((f"waiting for {name}", str(state["waiting"])))
        if state["open_seconds"] is not None:
            found.append((f"{name} paused until", moment(now + timedelta(seconds=state["open_seconds"]))))
    if through_seconds is not None:
        found.append(("all through", moment(now + timedelta(seconds=through_seconds))))
    return found


def _shown(state: LimitState) -> Data:
    return {
        "waiting": state.waiting,
        "running": state.running,
        "open_seconds": _seconds(state.open_for),
        "through_seconds": _seconds(state.through_in()),
    }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 3)
