"""How long to wait before another try."""

from datetime import timedelta

_FIRST = timedelta(seconds=1)
_LONGEST = timedelta(minutes=30)
_LARGEST_EXPONENT = 20


def back_off(attempt: int, random: float) -> timedelta:
    """Return the wait after this attempt: doubling from one second up to half an hour, less up to half of it by chance.

    `attempt` counts from 1; `random` lies in [0, 1). The jitter keeps jobs that failed together from meeting again.
    """
    full: timedelta = min(_FIRST * 2 ** min(max(attempt, 1) - 1, _LARGEST_EXPONENT), _LONGEST)
    return full * (1 - random / 2)
