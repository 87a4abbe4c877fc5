"""Voucherify's REST API as far as audits need it: `GET /v1/redemptions`, oldest first.

Source of the facts: https://docs.voucherify.io/api-reference/redemptions/list-redemptions. The list holds redemptions
and rollbacks alike, told apart by `object`, each with its own `date`. By default the latest come first, which
`order=created_at` turns round. `result=SUCCESS` also lets through what was rolled back later, whose `status` says so.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec

from rewardpost.settings import Settings
from rewardpost.turns import Ended, Go, Wait
from worker.address_sources.protocol import Budget, TryLater, Unlimited
from worker.address_sources.voucherify import Health, health_of, refusal
from worker.bounded_body import read_at_most
from worker.providers.protocol import CannotTell

PAGE = 99
"""Redemptions on one page; the documentation allows 100 and its examples fewer."""
LAST_PAGE = 99
"""The number of the last page that is asked for; what lies behind is asked for from a later time on."""
TIME_OUT = timedelta(seconds=20)
"""Longest wait for one whole answer."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes after decompression; each redemption comes with its order, its voucher and its customer."""

_OK = 200
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)


class _Listed(msgspec.Struct, frozen=True, kw_only=True):
    redemptions: list[msgspec.Raw]


_LISTED = msgspec.json.Decoder(_Listed)


class VoucherifyApi:
    """The redemptions of a Voucherify project; each call needs a turn, which it uses up."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        api_url: str,
        app_id: str,
        app_token: str,
        budget: Budget | None = None,
        time_out: timedelta = TIME_OUT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._session = session
        self._redemptions = f"{api_url.rstrip('/')}/v1/redemptions"
        self._headers = {"X-App-Id": app_id, "X-App-Token": app_token, "Accept": "application/json"}
        self._budget = budget or Unlimited()
        self._time_out = aiohttp.ClientTimeout(total=time_out.total_seconds())
        self._now = now

    async def turn(self, who: str) -> Go | Wait:
        """Let `who` call now, or say when to come again."""
        return await self._budget.turn(who)

    async def redemptions(self, turn: Go, after: datetime, page: int) -> list[msgspec.Raw]:
        """Return a page of the redemptions and rollbacks made after a time, oldest first, unread; pages count from 1.

        Raises:
            CannotTell: Voucherify could not be asked, or did not say.
        """
        health = Health(Ended.ABANDONED)
        try:
            answer, health = await self._ask(after, page)
        finally:
            await self._budget.ended(turn.call, health.how, retry_after=health.retry_after)
        if isinstance(answer, TryLater):
            raise CannotTell(answer.why, retry_after=health.retry_after)
        return _read(answer)

    async def _ask(self, after: datetime, page: int) -> tuple[bytes | TryLater, Health]:
        question = {
            "limit": str(PAGE),
            "page": str(page),
            "order": "created_at",
            "result": "SUCCESS",
            "[created_at][after]": after.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        try:
            async with self._session.get(
                self._redemptions,
                params=question,
                headers=self._headers,
                timeout=self._time_out,
                allow_redirects=False,  # the credentials are for this host alone
            ) as response:
                wait = response.headers.get("Retry-After")
                health = health_of(response.status, wait, self._now())
                if response.status != _OK:
                    refused = refusal(response.status, wait, self._now())
                    why = f"expected 200 from Voucherify's list of redemptions, got {response.status}"
                    return (refused if isinstance(refused, TryLater) else TryLater(why)), health
                body = await read_at_most(response, LARGEST_ANSWER)
                if body is None:
                    return TryLater(f"expected redemptions from Voucherify, got over {LARGEST_ANSWER} bytes"), health
                return body, health
        except _FAILURES as exc:
            return TryLater(f"Voucherify could not be asked ({type(exc).__name__})"), Health(Ended.FAILED)


def build(settings: Settings, session: aiohttp.ClientSession, budget: Budget | None = None) -> VoucherifyApi | None:
    """Return the API, or None while no credentials are set."""
    if not settings.voucherify_app_id:
        return None
    return VoucherifyApi(
        session,
        api_url=settings.voucherify_api_url,
        app_id=settings.voucherify_app_id,
        app_token=settings.voucherify_app_token,
        budget=budget,
    )


def _read(body: bytes) -> list[msgspec.Raw]:
    try:
        return _LISTED.decode(body).redemptions
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CannotTell("expected a JSON object with a list in redemptions from Voucherify") from None
