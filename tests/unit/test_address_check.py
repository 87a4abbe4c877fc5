"""The check of addresses: what passes, in whose spelling, and what each refusal names."""

import socket

import pycountry
import pytest
from msgspec.structs import replace

from rewardpost import address_check
from rewardpost.address_check import LONGEST, check
from rewardpost.addresses import AddressDraft, AddressProblem, PostalAddress

BERLIN = AddressDraft(
    name="Ada Muster", line_1="Musterweg 1", city="Berlin", postal_code="10115", country="Deutschland"
)
_WRONG_CODES = [
    ("US", "94105", "New York"),
    ("US", "9410", "California"),
    ("GB", "SW1A", None),
    ("NL", "12345", None),
    ("DE", "1011", None),
]


def _passed(draft: AddressDraft) -> PostalAddress:
    result = check(draft, served=None)
    assert isinstance(result, PostalAddress)
    return result


def _problem(draft: AddressDraft, served: frozenset[str] | None = None) -> AddressProblem:
    result = check(draft, served=served)
    assert isinstance(result, AddressProblem)
    return result


def test_a_complete_address_passes_with_its_country_as_a_code() -> None:
    """What a label needs comes out as it went in, the country resolved."""
    assert _passed(BERLIN) == PostalAddress(
        name="Ada Muster", line_1="Musterweg 1", city="Berlin", postal_code="10115", country="DE"
    )


def test_the_city_and_the_region_keep_the_spelling_of_the_customer() -> None:
    """The library behind the check would turn these into SAN FRANCISCO and CA."""
    draft = AddressDraft(
        name="A", line_1="1 Main St", city="San Francisco", region="california", postal_code="94105", country="usa"
    )
    address = _passed(draft)
    assert (address.city, address.region, address.country) == ("San Francisco", "california", "US")


def test_a_postal_code_is_put_into_the_form_that_sorting_machines_know() -> None:
    """Lower case and full-width digits are one code with their plain forms."""
    london = replace(BERLIN, city="London", postal_code=" sw1a  1aa", country="UK")
    tokyo = replace(BERLIN, city="Tokyo", postal_code="\uff1100-000\uff11", country="Japan")
    assert (_passed(london).postal_code, _passed(tokyo).postal_code) == ("SW1A 1AA", "100-0001")


def test_control_characters_and_white_space_are_dropped() -> None:
    """Neither a line break nor an invisible override of the writing direction reaches a label."""
    draft = replace(BERLIN, name="\x00 Ada\r\n\tMuster\x1b\ud800 ", city="\u202eBerlin\u200b")
    assert (_passed(draft).name, _passed(draft).city) == ("Ada Muster", "Berlin")


@pytest.mark.parametrize("blank", [None, "", "  ", "-", "...", "\x00"])
def test_nothing_at_all_is_a_missing_address(blank: str | None) -> None:
    """A customer without address data, with or without name and e-mail, is told apart from a faulty address."""
    draft = AddressDraft(name="Ada", email="a@example.com", line_1=blank, city=blank, postal_code=blank, country=blank)
    assert _problem(draft).kind == "missing"


@pytest.mark.parametrize("field", ["name", "line_1", "city", "postal_code", "country"])
def test_an_absent_field_is_named(field: str) -> None:
    """A person who completes the address is told which field it lacks."""
    assert _problem(replace(BERLIN, **{field: None})) == AddressProblem(kind="incomplete", fields=(field,))


@pytest.mark.parametrize(("country", "postal_code", "region"), _WRONG_CODES)
def test_a_postal_code_that_the_country_or_region_does_not_have_is_named(
    country: str, postal_code: str, region: str | None
) -> None:
    """A code of the wrong form, or of another region, is a wrong address."""
    draft = replace(BERLIN, country=country, postal_code=postal_code, region=region)
    assert _problem(draft) == AddressProblem(kind="incomplete", fields=("postal_code",))


@pytest.mark.parametrize("region", [None, "Bavaria"])
def test_a_region_is_wanted_where_the_country_needs_one(region: str | None) -> None:
    """An American address without a state, or with one that America does not have, is incomplete."""
    draft = replace(BERLIN, country="US", postal_code="94105", region=region)
    assert _problem(draft) == AddressProblem(kind="incomplete", fields=("region",))


def test_a_region_is_recognised_without_its_accents() -> None:
    """Málaga is written without its accent as often as with it."""
    malaga = replace(BERLIN, country="Spain", city="Málaga", region="Malaga", postal_code="29001")
    assert _passed(malaga).region == "Malaga"


def test_a_region_that_nobody_asked_for_is_kept_and_does_not_count() -> None:
    """A county in its own spelling is no reason to keep a parcel back where none is needed."""
    dublin = replace(BERLIN, country="Ireland", city="Dublin", region="Co. Dublin", postal_code=None)
    assert _passed(dublin).region == "Co. Dublin"


def test_a_city_may_stand_for_the_region_where_addresses_have_no_city() -> None:
    """People in Dubai write it as their city, although it is the emirate that the post asks for."""
    dubai = replace(BERLIN, country="UAE", city="Dubai", postal_code=None)
    assert (_passed(dubai).city, _passed(dubai).region) == ("Dubai", "")


def test_no_city_is_wanted_where_the_country_is_one() -> None:
    """An address in Singapore is complete with its postal code."""
    assert _passed(replace(BERLIN, country="Singapore", city=None, postal_code="546080")).city == ""


@pytest.mark.parametrize("country", ["Congo", "Nowhere", "Germny"])
def test_an_unclear_country_is_for_a_person(country: str) -> None:
    """A country that cannot be told for certain is never guessed."""
    assert _problem(replace(BERLIN, country=country)) == AddressProblem(kind="country_unclear", fields=("country",))


def test_a_country_outside_the_ones_served_is_refused_before_anything_else() -> None:
    """Nobody should complete an address that is not shipped to anyway."""
    draft = replace(BERLIN, postal_code=None)
    expected = AddressProblem(kind="country_not_served", fields=("country",))
    assert _problem(draft, served=frozenset({"FR", "AT"})) == expected


def test_a_country_that_is_served_passes() -> None:
    """The setting holds codes, the customer may have written a name."""
    assert isinstance(check(BERLIN, served=frozenset({"DE"})), PostalAddress)


@pytest.mark.parametrize("field", ["name", "company", "line_1", "line_2", "city", "region", "postal_code", "country"])
def test_a_field_that_is_too_long_is_named_and_not_cut(field: str) -> None:
    """Half a street is another street."""
    problem = _problem(replace(BERLIN, **{field: "1" * (LONGEST[field] + 1)}))
    assert problem == AddressProblem(kind="incomplete", fields=(field,))


@pytest.mark.parametrize("field", ["phone", "email"])
def test_a_phone_or_e_mail_that_is_too_long_is_left_out(field: str) -> None:
    """No parcel waits for what it does not need."""
    assert _passed(replace(BERLIN, **{field: "1" * (LONGEST[field] + 1)})) == _passed(BERLIN)


def test_the_check_needs_no_network_in_any_country(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address data of all countries comes from files."""

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    address_check._rules.cache_clear()  # noqa: SLF001 - what an earlier test loaded would hide a download
    for country in pycountry.countries:
        result = check(replace(BERLIN, country=country.alpha_2, region="x", postal_code=None), served=None)
        assert isinstance(result, PostalAddress) or result.kind == "incomplete"
