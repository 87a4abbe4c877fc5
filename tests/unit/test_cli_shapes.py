"""What the command prints and sends, as far as no server is needed: shapes, escapes, samples, settings."""

import json
from collections import Counter
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner

from cli import options, posting, records, sample
from cli.__main__ import SECTIONS, rewardpost
from cli.following import at_rest
from cli.output import moment, safe
from cli.posting import Tally
from rewardpost.fulfilment import Entry, Fulfilment, Hold
from rewardpost.states import State

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def _record(state: State = State.READY, hold: Hold | None = None) -> Fulfilment:
    return Fulfilment(reference="vfy-r_1", state=state, redemption="r_1", hold=hold, changed_at=NOW)


def test_story_has_exactly_the_promised_fields() -> None:
    """`show --json` keeps its shape: other programs read it."""
    entry = Entry(at=NOW, before=None, after=State.RECEIVED, why="rewarded", by="voucherify", request="req-1")
    told = json.loads(json.dumps(records.story(_record(hold=Hold(source="reward", why="look first")), [entry])))
    assert told == {
        "reference": "vfy-r_1",
        "redemption": "r_1",
        "customer": None,
        "state": "ready",
        "flags": {"hold": "look first"},
        "article": None,
        "provider": None,
        "provider_order": None,
        "tracking": [],
        "generation": 1,
        "attempts": 0,
        "journal": [
            {
                "at": "2026-03-01T12:00:00.123Z",
                "from": None,
                "to": "received",
                "why": "rewarded",
                "attempt": 0,
                "by": "voucherify",
            }
        ],
    }


def test_line_says_why_and_since_when() -> None:
    """A line of `list --json` is the story without the journal, with reason and time of the last change."""
    line = records.line(_record())
    assert set(line) == set(records.story(_record(), [])) - {"journal"} | {"why", "changed_at"}
    assert line["changed_at"] == "2026-03-01T12:00:00.123Z"


def test_moment_of_nothing_is_empty() -> None:
    """A time that is not known prints as nothing."""
    assert moment(None) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Blue mug", "Blue mug"),
        ("Müller & 子", "Müller & 子"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\tb\nc", "a\\tb\\nc"),
        ("\u202etxt", "\\u202etxt"),
        ("\udc80", "\\udc80"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_safe_text_does_nothing_to_a_terminal(text: str, shown: str) -> None:
    """Control characters, hidden ones and lone surrogates are shown, not sent."""
    assert safe(text) == shown


def test_sample_is_the_same_bytes_each_time() -> None:
    """Sending the sample again is a repeat, so its body never differs."""
    bodies = {sample.encode(sample.wrap(sample.data())) for _ in range(3)}
    assert len(bodies) == 1


def test_sample_of_another_source_is_the_same_event() -> None:
    """Another send-out, a distribution for example, carries another id and source, but the same event."""
    first = sample.wrap(sample.data())
    other = sample.wrap(sample.data(), envelope="whs_2", source="distr_2")
    assert sample.encode(first) != sample.encode(other)
    assert other["source"]["object"] == "distribution"
    assert first["event"] == other["event"]
    assert first["data"] == other["data"]


def test_distinct_webhooks_are_other_rewards() -> None:
    """A distinct webhook has a redemption, an event and a send-out of its own, and leaves its model alone."""
    model = sample.wrap(sample.data())
    before = sample.encode(model)
    one, two = sample.distinct(model, "a1"), sample.distinct(model, "a2")
    assert one["data"]["redemption"]["id"] != two["data"]["redemption"]["id"]
    assert one["event"]["id"] != two["event"]["id"]
    assert one["id"] != two["id"]
    assert sample.encode(model) == before


def test_sample_customer_has_an_address() -> None:
    """The bundled address file knows the sample's customer."""
    customer = sample.data()["customer"]
    assert f"{customer['id']},{customer['source_id']}," in sample.addresses().read_text(encoding="utf-8")


def test_signature_is_the_documented_one() -> None:
    """HMAC-SHA256 in lower-case hexadecimal; the value is RFC 4231's test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert posting.sign(b"what do ya want for nothing?", "Jefe") == expected


@pytest.mark.parametrize(
    ("answers", "acknowledged", "out_of_reach"),
    [
        ({"stored": 1, "duplicate": 2}, True, False),
        ({"stored": 1, "unavailable": 1}, False, False),
        ({"out_of_reach": 3}, False, True),
        ({"out_of_reach": 1, "stored": 1}, False, False),
    ],
)
def test_tally_tells_what_it_means(answers: dict[str, int], *, acknowledged: bool, out_of_reach: bool) -> None:
    """One refusal spoils it; out of reach means that nobody listened at all."""
    tally = Tally(answers=Counter(answers))
    assert (tally.acknowledged, tally.out_of_reach) == (acknowledged, out_of_reach)


@pytest.mark.parametrize(("typed", "meant"), [("r_1", "vfy-r_1"), ("vfy-r_1", "vfy-r_1"), (" vfy-r_1-g2 ", "vfy-r_1")])
def test_reference_may_be_a_redemption(typed: str, meant: str) -> None:
    """A person may type either name of a reward."""
    assert options.to_reference(typed) == meant


@pytest.mark.parametrize("typed", ["", "yesterday", "2026-13-01"])
def test_wrong_time_is_wrong_usage(typed: str) -> None:
    """What is no time is refused with an example."""
    with pytest.raises(click.BadParameter, match="2026-01-31T00:00:00Z"):
        options.to_instant(typed)


@pytest.mark.parametrize("typed", ["two\nlines", "\x1b[31m", "x" * 201])
def test_journal_takes_one_printable_line(typed: str) -> None:
    """What would disturb a journal is refused."""
    with pytest.raises(click.BadParameter, match="one line"):
        options.to_line(typed)


@pytest.mark.parametrize(
    ("record", "rests"),
    [
        (_record(State.READY), False),
        (_record(State.READY, Hold(source="dispatch", why="shadow run")), True),
        (_record(State.SUBMITTED), True),
        (_record(State.NEEDS_ADDRESS), True),
        (_record(State.UNKNOWN), False),
    ],
)
def test_following_ends_where_the_reward_rests(record: Fulfilment, *, rests: bool) -> None:
    """A reward that is held or waits for a person does not move by itself."""
    assert at_rest(record) is rests


def test_overview_lists_every_verb() -> None:
    """`rewardpost --help` names each verb, and each can say what it does."""
    runner = CliRunner()
    overview = runner.invoke(rewardpost, ["--help"])
    assert overview.exit_code == 0
    for verbs in SECTIONS.values():
        for name in verbs:
            assert f"  {name} " in overview.output
            assert runner.invoke(rewardpost, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["lst"],
        ["list", "--state", "lost_at_sea"],
        ["show"],
        ["shipped", "r_1"],
        ["hold", "everything"],
        ["hold", "provider", "nobody", "--reason", "x"],
        ["dead-letters", "replay"],
        ["dead-letters", "replay", "abc", "--all"],
        ["dead-letters", "list", "--since", "soon"],
        ["set-address", "r_1"],
        ["send", "--url", "door"],
        ["send", "--count", "0"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    """What cannot be understood is refused before anything is touched."""
    result = CliRunner().invoke(rewardpost, arguments, env={"REDIS_URL": "redis://127.0.0.1:1/0"})
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_wrong_setting_exits_with_2_and_names_the_variable() -> None:
    """A wrong variable is named, with what was expected."""
    result = CliRunner().invoke(rewardpost, ["stats"], env={"WORKER_MAX_JOBS": "many"})
    assert result.exit_code == 2
    assert "WORKER_MAX_JOBS: expected a whole number from 1 to 10000" in result.stderr
