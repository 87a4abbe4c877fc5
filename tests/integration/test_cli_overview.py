"""The verbs that look: what `list`, `show` and `stats` print, and what is said when the server is away."""

import json
from datetime import timedelta

import pytest
import redis
from arq.connections import ArqRedis

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Hold
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.limits import Limits, voucherify_limit
from rewardpost.queue import Queue
from rewardpost.settings import Settings
from rewardpost.states import State
from rewardpost.turns import Ended, Go
from tests import seeding
from tests.shell import Shell, fresh

KEYS = Keys(DEFAULT_PREFIX)


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def test_show_tells_the_story_of_a_reward(shell: Shell) -> None:
    """The whole story has each change with its reason, by reference and by redemption id alike."""
    reference = seeding.reward(shell.url, "r_1")
    story = shell.json("show", "r_1")
    assert story == shell.json("show", reference)
    assert (story["state"], story["article"], story["provider"]) == ("submitted", "mug", "manual")
    assert [line["to"] for line in story["journal"]] == ["received", "ready", "dispatching", "submitted"]
    printed = shell.done("show", "r_1")
    assert "ready -> dispatching: about to call manual (worker, attempt 1)" in printed


def test_show_keeps_what_is_personal_back(shell: Shell) -> None:
    """Name and address are printed only when they are asked for."""
    seeding.reward(shell.url, "r_1")
    for arguments in (["show", "r_1"], ["show", "r_1", "--json"], ["list"], ["list", "--json"]):
        assert "Testperson" not in shell.done(*arguments)
    assert "Probestrasse 7" in shell.done("show", "r_1", "--personal")
    assert shell.json("show", "r_1", "--personal")["personal"]["address"]["city"] == "Musterstadt"


def test_show_of_an_unknown_reward_exits_with_1(shell: Shell) -> None:
    """A reward that nobody knows is not found, and where to look is said."""
    assert "the ledger knows no reward vfy-r_9" in shell.refused("show", "r_9")


def test_show_of_an_expired_record_tells_how_it_ended(shell: Shell) -> None:
    """Where only the marker is left, it says how the reward ended."""
    reference = seeding.reward(shell.url, "r_1", State.RECEIVED)
    shell.done("cancel", reference)
    with redis.Redis.from_url(shell.url) as client:
        client.delete(KEYS.fulfilment(reference))
    assert "ended as cancelled" in shell.refused("show", reference)


def test_list_shows_what_wants_a_person_first(shell: Shell) -> None:
    """Without states, all that is under way is listed, what needs attention before the rest."""
    for number, state in enumerate([State.READY, State.SUBMITTED, State.NEEDS_ADDRESS, State.NEEDS_ATTENTION]):
        seeding.reward(shell.url, f"r_{number}", state)
    shell.done("shipped", seeding.reward(shell.url, "r_gone"), "--tracking", "T1")
    states = [line.split("\t")[1] for line in shell.done("list").splitlines()]
    assert states == ["needs_attention", "needs_address", "submitted", "ready"]
    assert len(shell.done("list", "--limit", "2").splitlines()) == 2


def test_list_takes_states(shell: Shell) -> None:
    """Several states can be asked for, as JSON lines too."""
    seeding.reward(shell.url, "r_1", State.READY)
    seeding.reward(shell.url, "r_2", State.SUBMITTED)
    seeding.reward(shell.url, "r_3", State.NEEDS_ADDRESS)
    lines = shell.done("list", "--state", "submitted", "--state", "ready", "--json").splitlines()
    assert [json.loads(line)["redemption"] for line in lines] == ["r_2", "r_1"]


def test_list_can_be_narrowed_to_what_is_held(shell: Shell) -> None:
    """`--held` leaves out what is not held."""
    seeding.reward(shell.url, "r_1", State.READY)
    held = seeding.reward(shell.url, "r_2", State.READY, hold=Hold(source="reward", why="look first"))
    line = shell.done("list", "--held").strip()
    assert line.startswith(held)
    assert "hold: look first" in line


def test_list_of_nothing_prints_nothing_into_a_pipe(shell: Shell) -> None:
    """No reward is no line and no fault."""
    assert shell.done("list") == ""
    assert shell.done("list", "--json") == ""


def test_stats_counts_everything(shell: Shell) -> None:
    """The numbers have exactly the promised names, and are right."""
    seeding.reward(shell.url, "r_1", State.READY)
    seeding.reward(shell.url, "r_2")
    seeding.dead_letter(shell.url, b"rubbish")
    seeding.at(shell.url, lambda client: Queue(client, KEYS).sign_of_life("worker-1"))
    stats = shell.json("stats")
    assert set(stats) == {"queue", "dead_letters", "fulfilments", "workers", "paused", "limits", "through_seconds"}
    assert set(stats["queue"]) == {"queued", "deferred", "running", "oldest_seconds"}
    assert (stats["dead_letters"], stats["workers"]) == (1, 1)
    assert set(stats["fulfilments"]) == set(State)
    assert (stats["fulfilments"]["ready"], stats["fulfilments"]["submitted"]) == (1, 1)
    assert "submitted\t1" in shell.done("stats")


def test_stats_says_until_when_what_waits_will_be_through(shell: Shell) -> None:
    """Of thirty a minute, one has gone and four wait: the last one's turn is about eight seconds off."""
    limit = voucherify_limit(Settings())

    async def ask(client: ArqRedis) -> None:
        limits = Limits(client, KEYS)
        for name in ("r_1", "r_2", "r_3", "r_4", "r_5"):
            await limits.turn(limit, name)

    seeding.at(shell.url, ask)
    stats = shell.json("stats")
    assert set(stats["limits"]) == {"voucherify", "provider:manual"}
    line = stats["limits"]["voucherify"]
    assert (line["waiting"], line["running"], line["open_seconds"]) == (4, 1, None)
    assert line["through_seconds"] == pytest.approx(4 * limit.interval.total_seconds(), abs=1)
    assert stats["through_seconds"] == line["through_seconds"]
    assert stats["limits"]["provider:manual"] == {
        "waiting": 0,
        "running": 0,
        "open_seconds": None,
        "through_seconds": None,
    }
    printed = shell.done("stats")
    assert "waiting for voucherify\t4" in printed
    assert "all through\t20" in printed


def test_stats_says_when_a_circuit_closes(shell: Shell) -> None:
    """A side that asked for a pause is shown with the end of it; nothing waits, so nothing is announced."""
    limit = voucherify_limit(Settings())

    async def ask(client: ArqRedis) -> None:
        limits = Limits(client, KEYS)
        turn = await limits.turn(limit, "r_1")
        assert isinstance(turn, Go)
        await limits.ended(limit, turn.call, Ended.FAILED, retry_after=timedelta(seconds=90))

    seeding.at(shell.url, ask)
    stats = shell.json("stats")
    assert stats["limits"]["voucherify"]["open_seconds"] == pytest.approx(90, abs=5)
    assert stats["through_seconds"] is None
    assert "voucherify paused until\t20" in shell.done("stats")


def test_stats_counts_what_has_not_asked_for_a_turn_yet(shell: Shell) -> None:
    """A reward that was just received needs a look-up too, where each address is looked up at Voucherify."""
    for number in range(3):
        seeding.reward(shell.url, f"r_{number}", State.RECEIVED)
    assert shell.json("stats")["through_seconds"] is None
    shell.environ |= {"VOUCHERIFY_APP_ID": "app", "VOUCHERIFY_APP_TOKEN": "token"}
    expected = 2 * voucherify_limit(Settings()).interval.total_seconds()
    assert shell.json("stats")["through_seconds"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "r_1"],
        ["stats", "--json"],
        ["shipped", "r_1", "--tracking", "T1"],
        ["hold", "everything", "--reason", "x"],
        ["dead-letters", "list"],
        ["doctor"],
    ],
)
def test_server_out_of_reach_exits_with_3(arguments: list[str]) -> None:
    """One clear line says which server, and no verb shows a traceback."""
    result = Shell("redis://:secret@127.0.0.1:1/0").call(*arguments)
    assert result.exit_code == 3
    assert "the server at redis://127.0.0.1:1/0 is out of reach" in result.output
    assert "secret" not in result.stderr


def test_server_that_refuses_exits_with_3(own_server: EmbeddedServer) -> None:
    """A full server refuses the write; a person sees that, not a traceback."""
    seeding.reward(own_server.url, "r_1", State.READY)
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", "1")
    shell = Shell(own_server.url)
    assert "refused the command" in shell.refused("hold", "everything", "--reason", "x", status=3)


def test_a_paused_queue_is_said_to_be_paused(shell: Shell) -> None:
    """With its reason and by whom, until it is resumed; to resume what is not paused is refused."""
    assert shell.json("stats")["paused"] is None
    assert shell.done("pause", "--reason", "stock-taking") == "paused: stock-taking (by tess)\n"
    assert shell.json("stats")["paused"] == "stock-taking (by tess)"
    assert "stock-taking" in shell.done("stats")
    assert shell.json("resume") == {"paused": None}
    assert shell.json("stats")["paused"] is None
    assert "not paused" in shell.refused("resume")
