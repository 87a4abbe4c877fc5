"""Countries: what a customer typed, as an ISO 3166-1 alpha-2 code, or nothing; never a guess.

Names and codes come from pycountry (Debian's iso-codes), own-language and everyday names from the table
below. A text matches only as a whole, after folding case, width, diacritics, punctuation and white space on
both sides.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

import pycountry

LONGEST = 100
"""Characters; a longer text names no country."""

AMBIGUOUS = frozenset({"congo", "korea"})
"""Names that more than one country goes by, although the standard gives one of them to a single country."""

ALIASES: Mapping[str, str] = {
    "belgie": "BE",
    "belgien": "BE",
    "belgique": "BE",
    "bosnia": "BA",
    "brasil": "BR",
    "britain": "GB",
    "burma": "MM",
    "cape verde": "CV",
    "ceska republika": "CZ",
    "cesko": "CZ",
    "danmark": "DK",
    "democratic republic of the congo": "CD",
    "deutschland": "DE",
    "dr congo": "CD",
    "east timor": "TL",
    "eesti": "EE",
    "eire": "IE",
    "el": "GR",  # the European Union's own code, as in VAT numbers
    "ellada": "GR",
    "england": "GB",
    "espana": "ES",
    "great britain": "GB",
    "hellas": "GR",
    "holland": "NL",
    "hrvatska": "HR",
    "italia": "IT",
    "ivory coast": "CI",
    "latvija": "LV",
    "letzebuerg": "LU",
    "lietuva": "LT",
    "macau": "MO",
    "magyarorszag": "HU",
    "nederland": "NL",
    "norge": "NO",
    "northern ireland": "GB",
    "osterreich": "AT",
    "palestine": "PS",
    "polska": "PL",
    "republic of ireland": "IE",
    "republic of korea": "KR",
    "russia": "RU",
    "schweiz": "CH",
    "scotland": "GB",
    "slovenija": "SI",
    "slovensko": "SK",
    "suisse": "CH",
    "suomi": "FI",
    "sverige": "SE",
    "svizzera": "CH",
    "swaziland": "SZ",
    "turkey": "TR",
    "uae": "AE",
    "uk": "GB",
    "us virgin islands": "VI",
    "vatican": "VA",
    "vatican city": "VA",
    "wales": "GB",
}
"""Folded names that the standard does not have."""

_NAMES = ("alpha_2", "alpha_3", "name", "official_name", "common_name")
_DROPPED = str.maketrans(dict.fromkeys(".'\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}`", ""))


def find(text: str) -> str | None:
    """Return the alpha-2 code of the country that this text names, or None where that is not certain."""
    if len(text) > LONGEST:
        return None
    return _table().get(fold(text).removeprefix("the "))


def fold(text: str) -> str:
    """Return the form in which two spellings of one name are equal.

    Width (NFKC), case, diacritics, full stops and apostrophes are dropped; other punctuation and white space
    become one space, and `&` becomes "and". Nothing else is: no letter of the name is guessed.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("&", " and ").translate(_DROPPED)
    plain = "".join(
        character for character in unicodedata.normalize("NFD", folded) if not unicodedata.combining(character)
    )
    words = "".join(character if character.isalnum() else " " for character in plain)
    return unicodedata.normalize("NFC", " ".join(words.split()))


@cache
def _table() -> Mapping[str, str]:
    """Build the table at the first look-up: 4 ms, which a process that asks for no address does not pay."""
    found: dict[str, set[str]] = {}
    for name, code in _all_names():
        for spelling in _spellings(fold(name)):
            found.setdefault(spelling, set()).add(code)
    certain = {name: next(iter(codes)) for name, codes in found.items() if len(codes) == 1}
    return MappingProxyType({name: code for name, code in certain.items() if name not in AMBIGUOUS})


def _all_names() -> Iterator[tuple[str, str]]:
    yield from ALIASES.items()
    for country in pycountry.countries:
        for attribute in _NAMES:
            name = getattr(country, attribute, None)
            if name:
                yield name, country.alpha_2


def _spellings(folded: str) -> Iterator[str]:
    plain = folded.removeprefix("the ")
    yield plain
    if plain.startswith("saint "):
        yield "st " + plain.removeprefix("saint ")
