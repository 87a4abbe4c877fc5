"""A limit as those see it who call: whether it is their turn, and that their call has ended."""

from datetime import timedelta

from rewardpost.limits import Limits
from rewardpost.turns import Ended, Go, Limit, Wait


class SharedBudget:
    """One limit that holds across all workers, for those who know neither Redis nor the other limits."""

    def __init__(self, limits: Limits, limit: Limit) -> None:
        self._limits = limits
        self._limit = limit

    async def turn(self, who: str) -> Go | Wait:
        """Let `who` call now, or say when to come again."""
        return await self._limits.turn(self._limit, who)

    async def ended(self, call: str, how: Ended, *, retry_after: timedelta | None = None) -> None:
        """Note how a call ended that was let through."""
        await self._limits.ended(self._limit, call, how, retry_after=retry_after)
