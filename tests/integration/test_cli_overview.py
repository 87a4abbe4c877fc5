"""The verbs that look: what `list`, `show` and `stats` print, and what is said when the server is away."""

import json

import pytest
import redis

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Hold
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.queue import Queue
from rewardpost.states import State
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
    assert set(stats) == {"queue", "dead_letters", "fulfilments", "workers"}
    assert set(stats["queue"]) == {"queued", "deferred", "running", "oldest_seconds"}
    assert (stats["dead_letters"], stats["workers"]) == (1, 1)
    assert set(stats["fulfilments"]) == set(State)
    assert (stats["fulfilments"]["ready"], stats["fulfilments"]["submitted"]) == (1, 1)
    assert "submitted\t1" in shell.done("stats")


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
