"""What audits keep between their runs: how far they have read, what they found, when a sender was last heard."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from redis.asyncio import Redis

from rewardpost.findings import Finding
from rewardpost.keys import Keys

FINDING_LIFE = timedelta(days=7)
"""How long a finding is shown after it was last seen."""
MOST_FINDINGS = 1000
"""Those seen longest ago give way."""


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """A finding with the time of its first and its latest sighting."""

    finding: Finding
    first: datetime
    latest: datetime


class Audits:
    """The memory of the audits of one installation."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def now(self) -> datetime:
        """Return the time by Redis's clock."""
        seconds, microseconds = await self._redis.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    async def installed(self) -> datetime | None:
        """Return the moment of installation; None before the first worker has started."""
        raw = await self._redis.get(self._keys.installed_at)
        return datetime.fromisoformat(raw.decode()) if raw else None

    async def position(self, audit: str) -> str | None:
        """Return where an audit goes on; None where it has kept nothing."""
        raw = await self._redis.hget(self._keys.audits, audit)  # type: ignore[misc] # redis-py types both its clients with one signature
        return raw.decode() if raw else None

    async def keep_position(self, audit: str, position: str) -> None:
        """Keep where an audit goes on."""
        await self._redis.hset(self._keys.audits, audit, position)  # type: ignore[misc] # the same

    async def note_heard(self, source: str, at: datetime) -> None:
        """Note when a sender was heard; an earlier time than the one that is noted changes nothing."""
        await self._redis.zadd(self._keys.heard, {source: at.timestamp()}, gt=True)

    async def heard(self, source: str) -> datetime | None:
        """Return when a sender was last heard; None for never."""
        seconds = await self._redis.zscore(self._keys.heard, source)
        return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None

    async def known(self, findings: Iterable[Finding]) -> Mapping[str, Noted]:
        """Return those of these findings that were seen before, by their id."""
        ids = [finding.id for finding in findings]
        if not ids:
            return {}
        found = await self._redis.hmget(self._keys.findings, ids)  # type: ignore[misc] # the same
        noted = {id_: _NOTED.decode(raw) for id_, raw in zip(ids, found, strict=True) if raw}
        now = await self.now()
        return {id_: each for id_, each in noted.items() if each.latest >= now - FINDING_LIFE}

    async def note(self, findings: Sequence[Finding]) -> list[Finding]:
        """Keep findings, and return those that are new."""
        known = await self.known(findings)
        now = await self.now()
        fresh = {
            finding.id: Noted(
                finding=finding, first=known[finding.id].first if finding.id in known else now, latest=now
            )
            for finding in findings
        }
        if not fresh:
            return []
        earlier = {each.finding.id: each for each in await self.findings()}
        shown = sorted({**earlier, **fresh}.values(), key=lambda each: each.latest, reverse=True)[:MOST_FINDINGS]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._keys.findings)
            pipe.hset(self._keys.findings, mapping={each.finding.id: msgspec.msgpack.encode(each) for each in shown})
            pipe.pexpire(self._keys.findings, FINDING_LIFE)
            await pipe.execute()
        return [each.finding for id_, each in fresh.items() if id_ not in known]

    async def findings(self) -> list[Noted]:
        """Return what was seen lately, the latest first."""
        now = await self.now()
        found = await self._redis.hvals(self._keys.findings)  # type: ignore[misc] # the same
        noted = [_NOTED.decode(raw) for raw in found]
        lately = [each for each in noted if each.latest >= now - FINDING_LIFE]
        return sorted(lately, key=lambda each: each.latest, reverse=True)


_NOTED = msgspec.msgpack.Decoder(Noted)
