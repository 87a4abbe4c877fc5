"""References hold for any id that Voucherify might send."""

import re

from hypothesis import given
from hypothesis import strategies as st

from rewardpost import reference

ALPHABET = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
ids = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"(r|ev|evcus|h|d)_[0-9a-f]{0,40}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,40}(-g[0-9]{1,3})?", fullmatch=True),
    st.text(min_size=1, max_size=20).map(lambda text: text * 500),
)
naming = st.sampled_from([reference.for_redemption, reference.for_event, reference.for_delivery])


@given(name=naming, identity=ids)
def test_every_reference_fits_every_provider(name: object, identity: str) -> None:
    """Any id at all gives at most 40 characters of the alphabet that all providers keep whole."""
    assert ALPHABET.fullmatch(name(identity))  # type: ignore[operator] # one of the three functions


@given(first=st.tuples(naming, ids), second=st.tuples(naming, ids))
def test_different_rewards_never_share_a_reference(first: tuple[object, str], second: tuple[object, str]) -> None:
    """Redemptions, events and deliveries never meet, whatever their ids look like."""
    names = [name(identity) for name, identity in (first, second)]  # type: ignore[operator] # one of the three functions
    assert (names[0] == names[1]) is (first == second)


@given(identity=ids, generation=st.integers(min_value=1, max_value=99))
def test_a_generation_can_be_taken_off_again(identity: str, generation: int) -> None:
    """The name at the provider leads back to the reward, and stays within the alphabet."""
    own = reference.for_redemption(identity)
    at_provider = reference.at_provider(own, generation)
    assert reference.split(at_provider) == (own, generation)
    assert ALPHABET.fullmatch(at_provider)
