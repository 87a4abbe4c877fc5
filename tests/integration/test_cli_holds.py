"""The verb pair `hold` and `release` on a real ledger."""

import pytest

from cli.embedded_server import EmbeddedServer
from rewardpost.fulfilment import Hold
from rewardpost.states import State
from tests import seeding
from tests.shell import Shell, fresh


@pytest.fixture
def shell(server: EmbeddedServer) -> Shell:
    """The command on the session's server, which is empty."""
    return fresh(server.url)


def test_hold_and_release_everything(shell: Shell) -> None:
    """A hold at large is listed with its reason, and its release sends on what it held and no more."""
    shell.done("hold", "everything", "--reason", "stock-taking")
    assert shell.json("hold", "list") == {"everything": "stock-taking (by tess)"}
    held = seeding.reward(shell.url, "r_1", State.READY, hold=Hold(source="everything", why="stock-taking"))
    other = seeding.reward(shell.url, "r_2", State.READY, hold=Hold(source="reward", why="look first"))
    assert shell.done("release", "everything", "--dry-run") == f"{held}\n1 would be sent on\n"
    assert shell.json("hold", "list") != {}
    assert "released: everything; 1 sent on" in shell.done("release", "everything")
    assert shell.json("hold", "list") == {}
    assert shell.json("show", held)["flags"] == {}
    assert shell.json("show", other)["flags"] == {"hold": "look first"}


@pytest.mark.parametrize(("scope", "name"), [("provider", "webhook"), ("article", "mug")])
def test_hold_and_release_a_part(shell: Shell, scope: str, name: str) -> None:
    """A provider or an article is held by its name."""
    shell.done("hold", scope, name, "--reason", "look first")
    assert shell.json("hold", "list") == {f"{scope}:{name}": "look first (by tess)"}
    held = seeding.reward(shell.url, "r_1", State.READY, hold=Hold(source=f"{scope}:{name}", why="look first"))
    assert f"released: {scope} {name}; 1 sent on" in shell.done("release", scope, name)
    assert shell.json("show", held)["flags"] == {}


def test_release_of_what_was_not_held_says_so(shell: Shell) -> None:
    """It is no fault, but a person should know."""
    assert "(it was not held at large); 0 sent on" in shell.done("release", "article", "mug")


def test_hold_and_release_one_reward(shell: Shell) -> None:
    """The flag is set and taken away again; a second release is refused."""
    seeding.reward(shell.url, "r_1", State.READY)
    assert shell.json("hold", "reward", "r_1", "--reason", "look first")["flags"] == {"hold": "look first"}
    assert shell.json("release", "reward", "r_1")["flags"] == {}
    assert "it is not held" in shell.refused("release", "reward", "r_1")
