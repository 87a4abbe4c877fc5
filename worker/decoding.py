"""From the bytes of a webhook to the event inside, or to what was expected of it; never an exception.

It is read in stages, so that only what decides something has to be right: the envelope first, of which every
part stays sealed, then the parts that the event's type calls for.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import Raw

from worker import duplicates, event_types, events
from worker.events import DeletedData, Envelope, Named, Origin, Part, Reward, RewardedData, Rollback, RolledBackData


class Rewarded(Part, frozen=True, kw_only=True):
    """`customer.rewarded`."""

    data: RewardedData
    reward: Reward | None
    """`redemption.reward`, or `data.reward` where there is none."""
    is_paid: bool
    """The reward stands in the redemption that paid for it; only there can its type be relied on."""
    is_named: bool
    """The body itself says which event it is, so that success goes without saying."""


class RolledBack(Part, frozen=True, kw_only=True):
    """Either of the rollback events."""

    redemption: str
    """The id of the redemption that was undone."""


class Deleted(Part, frozen=True, kw_only=True):
    """`customer.deleted`."""

    data: DeletedData


class Irrelevant(Part, frozen=True, kw_only=True):
    """Every other event, known or not; its data is never read."""


class Undecodable(Part, frozen=True, kw_only=True):
    """What cannot be read, with what was expected."""

    code: str
    """A short stable word for the reason."""
    why: str
    """What was expected and where; nothing of what came but its type."""


Content = Rewarded | RolledBack | Deleted | Irrelevant | Undecodable


class Event(Part, frozen=True, kw_only=True):
    """One event, whose content may still be unreadable."""

    type: str
    """Lower case; whatever the sender wrote where it is none of the types that mean something here."""
    id: str | None = None
    """The event's own id, the same in every sending of it."""
    project: str | None = None
    created_at: datetime | None = None
    content: Content


_T = TypeVar("_T", bound=msgspec.Struct)
_D = TypeVar("_D")


class _ReadingError(Exception):
    def __init__(self, code: str, why: str) -> None:
        super().__init__(code)
        self.reason = Undecodable(code=code, why=why)


class _Section(Part, frozen=True, kw_only=True):
    raw: Raw
    tree: object
    """The same, as `duplicates.parse` sees it."""
    path: str

    def child(self, name: str, raw: Raw) -> "_Section":
        path = f"{self.path}.{name}" if self.path else name
        return _Section(raw=raw, tree=duplicates.child(self.tree, name), path=path)


def decode(body: bytes) -> Event | Undecodable:
    """Read the body of a webhook.

    `Undecodable` itself means that not even the envelope can be read; as the content of an event it means that
    the envelope can be read, and says which project it is from.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    if _SURROGATE.search(body):
        body = _LONE_SURROGATE.sub(_break, body)
    envelope = None
    try:
        envelope = _read(Raw(body), _ENVELOPE, "")
        return _event(envelope, _Section(raw=Raw(body), tree=_tree(body), path=""))
    except _ReadingError as exc:
        reason = exc.reason
    except RecursionError:
        reason = Undecodable(code="too_deep", why="expected objects and lists that are nested less deeply")
    if envelope is None:
        return reason
    return Event(type="", project=events.text(envelope.project_id), content=reason)


def _event(envelope: Envelope, root: _Section) -> Event:
    _expect_one_value(root, Envelope)
    origin = _part(root.child("event", envelope.event), _ORIGIN, Origin)
    # A distribution may be sent raw: what would be `data` is all there is.
    content = root.child("data", envelope.data) if events.is_given(envelope.data) else root
    named = event_types.named(envelope, origin)
    kind = named or event_types.recognised(content.raw) or event_types.presumed(envelope)
    if kind is None:
        raise _ReadingError("no_envelope", "expected event.type, or a body of the shape of a reward or of a rollback")
    return Event(
        type=kind,
        id=events.text(origin.id),
        project=events.text(envelope.project_id),
        created_at=events.instant(origin.created_at),
        content=_content(kind, content, is_named=named is not None),
    )


def _content(kind: str, section: _Section, *, is_named: bool) -> Content:
    if kind == event_types.REWARDED:
        return _rewarded(section, is_named=is_named)
    if kind in event_types.ROLLED_BACK:
        return _rolled_back(section)
    if kind == event_types.DELETED:
        return Deleted(data=_part(section, _DELETED, DeletedData))
    return Irrelevant()


def _rewarded(section: _Section, *, is_named: bool) -> Rewarded:
    data = _part(section, _REWARDED, RewardedData)
    if data.redemption is not None and data.redemption.reward is not None:
        return Rewarded(data=data, reward=data.redemption.reward, is_paid=True, is_named=is_named)
    reward = _part(section.child("reward", data.reward), _REWARD, Reward) if events.is_given(data.reward) else None
    return Rewarded(data=data, reward=reward, is_paid=False, is_named=is_named)


def _rolled_back(section: _Section) -> RolledBack:
    data = _part(section, _ROLLED_BACK, RolledBackData)
    rollback = data.redemption_rollback or Rollback()
    words = {events.word(events.text(rollback.result)), events.word(events.text(rollback.status))}
    if words & event_types.FAILURES:
        raise _ReadingError("contradiction", "expected a success as result and status of a rollback that succeeded")
    redemption = _id_of(rollback.redemption)
    if redemption is None:
        redemption = _id_of(_read(data.redemption, _NAMED, section.child("redemption", data.redemption).path))
    if redemption is None:
        where = section.child("redemption_rollback", Raw()).path
        raise _ReadingError("no_redemption", f"expected the id of the undone redemption in {where}.redemption")
    return RolledBack(redemption=redemption)


def _id_of(named: str | Named | None) -> str | None:
    return events.given(named.id if isinstance(named, Named) else named)


def _part(section: _Section, decoder: "msgspec.json.Decoder[_T | None]", part: type[_T]) -> _T:
    """Read a part that decides something; null is as good as empty."""
    found = _read(section.raw, decoder, section.path)
    _expect_one_value(section, part)
    return part() if found is None else found


def _expect_one_value(section: _Section, part: type[msgspec.Struct]) -> None:
    path = duplicates.find(section.tree, part, section.path)
    if path is not None:
        raise _ReadingError("contradiction", f"{path}: expected one value, the key is there twice with different ones")


def _tree(body: bytes) -> object:
    try:
        return duplicates.parse(body)
    except ValueError:
        raise _ReadingError("not_json", "expected JSON that every parser reads") from None


def _read(raw: Raw, decoder: "msgspec.json.Decoder[_D]", path: str) -> _D:
    """Decode, and say what was expected where; msgspec's own messages are rewritten, since their paths start anew."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise _wrong_type(str(exc), path) from None
    except msgspec.DecodeError:
        raise _ReadingError("not_json", "expected one whole JSON text") from None
    except UnicodeDecodeError:
        raise _ReadingError(
            "not_json", f"{path or 'body'}: expected whole characters in UTF-8 in what decides"
        ) from None


def _wrong_type(message: str, path: str) -> _ReadingError:
    match = _MISMATCH.match(message)
    expected, got, inner = match.group("expected", "got", "path") if match is not None else ("", "", "")
    where = f"{path}{inner or ''}".lstrip(".")
    if not where:
        return _ReadingError("not_an_object", f"body: expected an object, got {_TYPES.get(got, 'something else')}")
    wanted = " or ".join(_TYPES.get(name, name) for name in expected.split(" | "))
    return _ReadingError("wrong_type", f"{where}: expected {wanted}, got {_TYPES.get(got, 'something else')}")


def _break(escape: re.Match[bytes]) -> bytes:
    """Turn the escape of half a character into a byte that is none, which costs nothing where nobody looks."""
    return escape[0] if escape["lone"] is None else b"\xff"


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Senders that cut text in the middle of an emoji write such halves; msgspec refuses them wherever they stand.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_MISMATCH = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`(?: - at `\$(?P<path>[^`]*)`)?")
_TYPES: Mapping[str, str] = {
    "str": "text",
    "object": "an object",
    "null": "null",
    "array": "a list",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
}

_ENVELOPE = msgspec.json.Decoder(Envelope)
_ORIGIN = msgspec.json.Decoder(Origin | None)
_REWARDED = msgspec.json.Decoder(RewardedData | None)
_REWARD = msgspec.json.Decoder(Reward | None)
_ROLLED_BACK = msgspec.json.Decoder(RolledBackData | None)
_DELETED = msgspec.json.Decoder(DeletedData | None)
_NAMED = msgspec.json.Decoder(str | Named | None)
