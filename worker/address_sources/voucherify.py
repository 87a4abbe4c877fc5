"""Addresses from Voucherify: `GET /v1/customers/{id or source_id}`.

Source of the facts: https://docs.voucherify.io/api-reference/customers/get-customer. All fields are nullable free
text, and the answer may have fields that its own schema does not: nothing is validated here beyond its shape.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import aiohttp
import msgspec

from rewardpost.addresses import AddressDraft
from rewardpost.settings import Settings
from rewardpost.turns import Ended, Wait, Why
from worker import retry_after
from worker.address_sources.protocol import Answer, Budget, Customer, Found, NotFound, TryLater, Unlimited
from worker.bounded_body import read_at_most
from worker.providers.protocol import Finding

TIME_OUT = timedelta(seconds=10)
"""Longest wait for one whole answer."""
LARGEST_ANSWER = 1024 * 1024
"""Bytes after decompression; a customer with his metadata has a few thousand."""

UNKNOWN_CUSTOMER = frozenset({400, 404, 410, 414, 422})
"""Statuses that speak of the id that was asked for, and will not change by asking again."""
OUR_CREDENTIALS = frozenset({401, 403})
"""Statuses that speak of the application's id and token: for the operator, no fault of the customer."""

_OK = 200
_TOO_MANY = 429
_SERVER_FAULTS = 500
_UNAVAILABLE = 503
_IN_LINE = frozenset({Why.TURN, Why.FULL})
_NOBODY = "rewardpost-check"
_NO_PATH = frozenset({".", ".."})  # as a segment of a path these lead elsewhere, quoted or not
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)


class Voucherify:
    """The customers of a Voucherify project."""

    name = "voucherify"

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
        self._customers = f"{api_url.rstrip('/')}/v1/customers/"
        self._headers = {"X-App-Id": app_id, "X-App-Token": app_token, "Accept": "application/json"}
        self._budget = budget or Unlimited()
        self._time_out = aiohttp.ClientTimeout(total=time_out.total_seconds())
        self._now = now

    async def find(self, customer: Customer) -> Answer:
        """Ask for the customer by id, or by source id where there is no id, when it is this reward's turn."""
        segment = _segment(customer.id or customer.source_id or "")
        if segment is None:
            return NotFound()
        turn = await self._budget.turn(customer.reference or _pseudonym(segment))
        if isinstance(turn, Wait):
            return TryLater(f"Voucherify is not asked yet: {turn.why}", turn.after, in_line=turn.why in _IN_LINE)
        health = Health(Ended.ABANDONED)
        try:
            answer, health = await self._ask(segment)
        finally:
            await self._budget.ended(turn.call, health.how, retry_after=health.retry_after)
        return answer

    async def check(self) -> Sequence[Finding]:
        """Ask for a customer that does not exist: only right credentials are told so. A person need not wait."""
        answer, _ = await self._ask(_NOBODY)
        if isinstance(answer, TryLater):
            todo = "check VOUCHERIFY_API_URL, VOUCHERIFY_APP_ID and VOUCHERIFY_APP_TOKEN"
            return [Finding(ok=False, what=answer.why, todo=todo)]
        return [Finding(ok=True, what="Voucherify answers and accepts the credentials")]

    async def close(self) -> None:
        """Do nothing: the session belongs to the process."""

    async def _ask(self, segment: str) -> tuple[Answer, "Health"]:
        try:
            async with self._session.get(
                self._customers + segment,
                headers=self._headers,
                timeout=self._time_out,
                allow_redirects=False,  # the credentials are for this host alone
            ) as response:
                wait = response.headers.get("Retry-After")
                health = health_of(response.status, wait, self._now())
                if response.status == _OK:
                    return _found(await read_at_most(response, LARGEST_ANSWER)), health
                return refusal(response.status, wait, self._now()), health
        except _FAILURES as exc:
            return TryLater(f"Voucherify could not be asked ({type(exc).__name__})"), Health(Ended.FAILED)


@dataclass(frozen=True)
class Health:
    """What an answer says of Voucherify itself."""

    how: Ended
    retry_after: timedelta | None = None


def build(settings: Settings, session: aiohttp.ClientSession, budget: Budget | None = None) -> Voucherify | None:
    """Return the source, or None while no credentials are set."""
    if not settings.voucherify_app_id:
        return None
    return Voucherify(
        session,
        api_url=settings.voucherify_api_url,
        app_id=settings.voucherify_app_id,
        app_token=settings.voucherify_app_token,
        budget=budget,
    )


def health_of(status: int, wait: str | None, now: datetime) -> Health:
    """Return what an answer says of Voucherify's health; `wait` is its `Retry-After`.

    Refused credentials count as a failure: nothing is gained by asking on until they are mended.
    """
    if status in {_TOO_MANY, _UNAVAILABLE}:
        return Health(Ended.FAILED, retry_after.parse(wait, now))
    failed = status >= _SERVER_FAULTS or status in OUR_CREDENTIALS
    return Health(Ended.FAILED if failed else Ended.ANSWERED)


def refusal(status: int, wait: str | None, now: datetime) -> NotFound | TryLater:
    """Return what an answer other than 200 means; `wait` is its `Retry-After`."""
    if status in UNKNOWN_CUSTOMER:
        return NotFound()
    if status in OUR_CREDENTIALS:
        return TryLater(f"Voucherify refused VOUCHERIFY_APP_ID and VOUCHERIFY_APP_TOKEN ({status})")
    if status == _TOO_MANY:
        return TryLater("Voucherify's rate limit is reached (429)", retry_after.parse(wait, now))
    return TryLater(f"expected 200 or 404 from Voucherify, got {status}", retry_after.parse(wait, now))


def _found(body: bytes | None) -> Found | TryLater:
    if body is None:
        return TryLater(f"expected a customer from Voucherify, got more than {LARGEST_ANSWER} bytes")
    try:
        customer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return TryLater("expected JSON from Voucherify, got something else")
    if not isinstance(customer, dict):
        return TryLater("expected a JSON object from Voucherify, got another value")
    return Found(_draft(customer))


def _draft(customer: Mapping[str, object]) -> AddressDraft:
    nested = customer.get("address")
    address: Mapping[str, object] = nested if isinstance(nested, dict) else {}
    return AddressDraft(
        name=_text(customer.get("name")),
        phone=_text(customer.get("phone")),
        email=_text(customer.get("email")),
        line_1=_text(address.get("line_1")),
        line_2=_text(address.get("line_2")),
        city=_text(address.get("city")),
        region=_text(address.get("state")),
        postal_code=_text(address.get("postal_code")),
        country=_text(address.get("country")),
    )


def _text(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _segment(customer: str) -> str | None:
    """Return an id as one segment of a path, or None for one that cannot stand there."""
    if not customer or customer in _NO_PATH:
        return None
    try:
        return quote(customer, safe="")
    except UnicodeEncodeError:
        return None


def _pseudonym(segment: str) -> str:
    """Return a name for the line that tells nobody who it is: a source id is often an e-mail address."""
    return hashlib.sha256(segment.encode()).hexdigest()[:16]
