"""Countries by code, name and alias, and what is not certain enough to be one."""

import pycountry
import pytest

from rewardpost import countries


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DE"),
        ("deu", "DE"),
        ("Germany", "DE"),
        ("Federal Republic of Germany", "DE"),
        ("Deutschland", "DE"),
        ("\uff27ermany", "DE"),
        ("  united\t kingdom\n", "GB"),
        ("UK", "GB"),
        ("England", "GB"),
        ("SCOTLAND", "GB"),
        ("Wales", "GB"),
        ("Northern Ireland", "GB"),
        ("Great Britain", "GB"),
        ("Ireland", "IE"),
        ("Turkey", "TR"),
        ("Türkiye", "TR"),
        ("turkiye", "TR"),
        ("USA", "US"),
        ("U.S.A.", "US"),
        ("The United States of America", "US"),
        ("Österreich", "AT"),
        ("Osterreich", "AT"),
        ("España", "ES"),
        ("Côte d\u2019Ivoire", "CI"),
        ("Bosnia & Herzegovina", "BA"),
        ("St. Lucia", "LC"),
        ("Guinea Bissau", "GW"),
        ("South Korea", "KR"),
        ("Democratic Republic of the Congo", "CD"),
        ("The Netherlands", "NL"),
    ],
)
def test_a_certain_country_is_found(text: str, code: str) -> None:
    """Codes, names and aliases name their country in any case, width, accent and punctuation."""
    assert countries.find(text) == code


@pytest.mark.parametrize(
    "text",
    ["", " ", "Congo", "the Congo", "Korea", "Virgin Islands", "Germny", "Deutschlan", "EU", "276", "x" * 10_000],
)
def test_what_is_not_certain_is_no_country(text: str) -> None:
    """Ambiguous, misspelt and foreign texts name no country: a parcel must not travel on a guess."""
    assert countries.find(text) is None


@pytest.mark.parametrize("country", list(pycountry.countries), ids=lambda country: country.alpha_2)
def test_every_country_is_found_by_its_codes_and_official_name(country: pycountry.db.Country) -> None:
    """No alias hides a country of the standard."""
    official = getattr(country, "official_name", country.alpha_2)
    assert {countries.find(country.alpha_2), countries.find(country.alpha_3), countries.find(official)} == {
        country.alpha_2
    }


def test_every_alias_is_written_in_its_folded_form() -> None:
    """An alias that folds to something else could never be found under the name it has in the table."""
    assert [alias for alias in countries.ALIASES if countries.fold(alias) != alias] == []


def test_every_alias_leads_to_a_country_of_the_standard() -> None:
    """A slip in the table would send parcels to a country that does not exist."""
    assert {code for code in countries.ALIASES.values() if pycountry.countries.get(alpha_2=code) is None} == set()
