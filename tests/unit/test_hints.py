"""Which rewards a ShipBob webhook hints at."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardpost import reference
from worker.hints import MOST, references_in

SHIPMENT = {"id": 10, "order_id": 1, "reference_id": "vfy-r_1", "status": "Completed", "products": [{"sku": "mug"}]}


@pytest.mark.parametrize(
    ("content", "references"),
    [
        pytest.param(SHIPMENT, ("vfy-r_1",), id="a shipment"),
        pytest.param({"id": 1, "reference_id": "vfy-r_1", "shipments": [SHIPMENT]}, ("vfy-r_1",), id="an order"),
        pytest.param({"type": "order.shipped", "data": SHIPMENT}, ("vfy-r_1",), id="in an envelope"),
        pytest.param({"data": {"order": {"reference_id": "vfy-r_1-g3"}}}, ("vfy-r_1",), id="another generation"),
        pytest.param([{"reference_id": "vfy-b"}, {"reference_id": "vfy-a"}], ("vfy-b", "vfy-a"), id="in their order"),
        pytest.param({"reference_id": "vfy-h-" + "a" * 26 + "-g12"}, ("vfy-h-" + "a" * 26,), id="a hashed one"),
        pytest.param({"reference_id": "1001", "products": [{"reference_id": "mug"}]}, (), id="of somebody else"),
        pytest.param({"reference_id": "vfy-"}, (), id="nothing behind the prefix"),
        pytest.param({"reference_id": "vfy-" + "a" * 37}, (), id="too long"),
        pytest.param({"reference_id": "vfy-a b"}, (), id="another alphabet"),
        pytest.param({"reference_id": "vfy-a\n"}, (), id="a line break"),
        pytest.param({"reference_id": "vfy-g2"}, ("vfy-g2",), id="a redemption that looks like a generation"),
        pytest.param({"reference_id": "xvfy-a"}, (), id="another prefix"),
        pytest.param({"reference_id": 7, "id": "vfy-a"}, (), id="no text"),
        pytest.param({"reference_id": ["vfy-a"]}, (), id="a list"),
        pytest.param({"order_number": "vfy-a"}, (), id="another name"),
        pytest.param({"id": 1}, (), id="a bill"),
        pytest.param("vfy-a", (), id="a bare text"),
        pytest.param(None, (), id="null"),
    ],
)
def test_the_rewards_a_webhook_names(content: object, references: tuple[str, ...]) -> None:
    """Wherever a payload names an order of ours, its reward is known by it."""
    assert references_in(json.dumps(content).encode()) == references


@pytest.mark.parametrize("body", [b"", b"{", b"<xml/>", b'{"reference_id": "\xff"}', b"[" * 100_000])
def test_what_cannot_be_read_names_nothing(body: bytes) -> None:
    """A hint that says nothing is dropped; the polls look anyway."""
    assert references_in(body) == ()


def test_one_webhook_does_not_make_work_without_end() -> None:
    """More references than any order has are cut off."""
    many = [{"reference_id": f"vfy-{number}"} for number in range(MOST + 50)]
    assert len(references_in(json.dumps(many).encode())) == MOST


@given(st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.text() | st.just("reference_id"), inner)).map(lambda tree: json.dumps(tree).encode()))  # fmt: skip
def test_any_body_gives_references_of_the_ledger(body: bytes) -> None:
    """Whatever comes in, what goes out may stand in the ledger, and each once."""
    found = references_in(body)
    assert all(text.startswith(reference.PREFIX) and len(text) <= 40 for text in found)
    assert len(set(found)) == len(found)


@given(st.text(alphabet="abcXYZ019_", min_size=1, max_size=30), st.integers(1, 99))
def test_every_reference_of_ours_is_found(plain: str, generation: int) -> None:
    """What is sent to ShipBob comes back as the reward it was made of."""
    ours = reference.for_redemption(plain)
    body = json.dumps({"x": [{"reference_id": reference.at_provider(ours, generation)}]}).encode()
    assert references_in(body) == (ours,)
