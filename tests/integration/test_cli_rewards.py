"""The verbs that change one reward, on a real ledger: what becomes of it, and what is refused."""

import asyncio
import json
from typing import Any

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.keys import DEFAULT_PREFIX, Keys
from rewardpost.operations import Operations
from rewardpost.settings import Settings
from rewardpost.states import State
from tests import seeding
from tests.shell import Shell, fresh

ADDRESS = {"line_1": "Probestrasse 7", "city": "Musterstadt", "postal_code": "10117", "country": "Germany"}
OPTIONS = [word for name, value in ADDRESS.items() for word in (f"--{name.replace('_', '-')}", value)]
KEYS = Keys(DEFAULT_PREFIX)


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def test_shipped_notes_the_tracking_number_and_who_said_so(shell: Shell) -> None:
    """The parcel is shipped, and the journal names the operator."""
    reference = seeding.reward(shell.url, "r_1")
    assert f"{reference} is shipped" in shell.done("shipped", "r_1", "--tracking", "00340434")
    story = shell.json("show", reference)
    assert (story["state"], story["tracking"]) == ("shipped", ["00340434"])
    assert story["journal"][-1]["by"] == "tess"
    assert shell.json("shipped", "r_1", "--tracking", "T2", "--by", "otto")["tracking"] == ["00340434", "T2"]
    assert shell.json("show", reference)["journal"][-1]["by"] == "otto"


def test_shipping_what_cannot_leave_is_refused(shell: Shell) -> None:
    """A reward without an order says why, and stays as it is."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ADDRESS)
    assert "it is needs_address; only a reward" in shell.refused("shipped", "r_1", "--tracking", "T1")
    assert shell.state("r_1") == "needs_address"


@pytest.mark.parametrize(
    "verb", ["shipped --tracking T1", "retry", "cancel", "discard", "hold", "release", "set-address"]
)
def test_acting_on_an_unknown_reward_exits_with_1(shell: Shell, verb: str) -> None:
    """No verb pretends to have changed what is not there."""
    words = {
        "hold": ["hold", "reward", "r_9", "--reason", "x"],
        "release": ["release", "reward", "r_9"],
        "set-address": ["set-address", "r_9", "--name", "T", "--line-1", "A 1", "--city", "B", "--country", "GI"],
    }
    name, *options = verb.split()
    assert "not found" in shell.refused(*words.get(verb, [name, "r_9", *options]))


def test_retry_sends_a_reward_on_its_way_again(shell: Shell) -> None:
    """A reward that needed attention is ready again."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ATTENTION)
    assert shell.json("retry", "r_1")["state"] == "ready"
    assert shell.json("stats")["queue"]["queued"] == 1


def test_cancel_before_dispatch_is_at_once(shell: Shell) -> None:
    """What no provider has is cancelled when the verb returns; a second time is refused."""
    seeding.reward(shell.url, "r_1", State.READY)
    assert "is cancelled: sold out" in shell.done("cancel", "r_1", "--reason", "sold out")
    assert "it is cancelled already" in shell.refused("cancel", "r_1")


def test_cancel_after_dispatch_sets_the_flag(shell: Shell) -> None:
    """What a provider has is flagged, and a worker carries it out."""
    seeding.reward(shell.url, "r_1")
    assert shell.json("cancel", "r_1", "--reason", "sold out")["flags"] == {"cancelling": "sold out"}


def test_discard_closes_what_needs_attention(shell: Shell) -> None:
    """Without a parcel, but with a reason; other rewards are refused."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ATTENTION)
    seeding.reward(shell.url, "r_2", State.READY)
    assert shell.json("discard", "r_1", "--reason", "a test")["state"] == "discarded"
    assert "only a reward that is needs_attention can be discarded" in shell.refused("discard", "r_2")


def test_set_address_makes_a_reward_ready(shell: Shell) -> None:
    """The address is checked and kept, under the name that the webhook gave."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ADDRESS)
    assert "is ready" in shell.done("set-address", "r_1", *OPTIONS)
    address = shell.json("show", "r_1", "--personal")["personal"]["address"]
    assert (address["country"], address["name"]) == ("DE", "Tess Testperson")


def test_set_address_reads_json(shell: Shell) -> None:
    """Standard input keeps an address out of the shell's history."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ADDRESS)
    shell.done("set-address", "r_1", "--file", "-", stdin=json.dumps({**ADDRESS, "name": "Otto Other"}))
    assert shell.json("show", "r_1", "--personal")["personal"]["address"]["name"] == "Otto Other"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--postal-code", "1"], "--postal-code"),
        (["--country", "Atlantis"], "--country: expected an ISO 3166 code"),
        (["--line-1", ""], "--line-1"),
    ],
)
def test_wrong_address_is_refused_by_field(shell: Shell, change: list[str], said: str) -> None:
    """What is wrong is named by its option, and the reward goes on waiting."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ADDRESS)
    message = shell.refused("set-address", "r_1", *OPTIONS, *change)
    assert said in message
    assert "Probestrasse" not in message
    assert shell.state("r_1") == "needs_address"


def test_address_outside_the_served_countries_is_refused(shell: Shell) -> None:
    """The setting is named."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ADDRESS)
    assert "SHIP_TO_COUNTRIES" in shell.refused("set-address", "r_1", *OPTIONS, SHIP_TO_COUNTRIES="FR")


@pytest.mark.parametrize("text", ["no json", "[]", '{"city": 5}', ""])
def test_address_that_is_no_object_is_refused(shell: Shell, text: str) -> None:
    """What is read must be one JSON object of texts."""
    seeding.reward(shell.url, "r_1", State.NEEDS_ADDRESS)
    result = shell.call("set-address", "r_1", "--file", "-", stdin=text)
    assert result.exit_code == 1
    assert "the address cannot be used" in result.stderr


def test_two_changes_at_once_are_both_made(shell: Shell) -> None:
    """An operator whose record has changed meanwhile is heard all the same."""
    reference = seeding.reward(shell.url, "r_1")

    async def both(client: Any) -> None:  # noqa: ANN401 - arq's client
        operations = Operations(client, KEYS, retention=Settings().retention, by="otto")
        await asyncio.gather(*(operations.shipped(reference, f"T{number}") for number in range(5)))

    seeding.at(shell.url, both)
    assert sorted(shell.json("show", reference)["tracking"]) == ["T0", "T1", "T2", "T3", "T4"]
