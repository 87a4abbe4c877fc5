"""Addresses: what a source says (a draft), and what may stand on a parcel (a postal address), and the check between."""

from typing import Literal

import msgspec


class AddressDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An address as some source gave it: free text, anything may be missing."""

    name: str | None = None
    company: str | None = None
    line_1: str | None = None
    line_2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    phone: str | None = None
    email: str | None = None

    def __repr__(self) -> str:
        """Show nothing personal."""
        return "AddressDraft(…)"


class PostalAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An address that passed the check, in the customer's own spelling; absent parts are empty."""

    name: str
    line_1: str
    city: str
    country: str
    """ISO 3166-1 alpha-2, upper case."""
    company: str = ""
    line_2: str = ""
    region: str = ""
    postal_code: str = ""
    phone: str = ""
    email: str = ""
    version: int = 1

    def __repr__(self) -> str:
        """Show nothing personal."""
        return "PostalAddress(…)"


ProblemKind = Literal["missing", "incomplete", "country_unclear", "country_not_served"]


class AddressProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a draft cannot be shipped to; names fields, never their content."""

    kind: ProblemKind
    fields: tuple[str, ...] = ()
    """Field names of `AddressDraft` that are absent or wrong."""
