"""Verbs that change one reward: `shipped`, `set-address`, `retry`, `cancel`, `discard`."""

from collections.abc import Awaitable, Callable
from typing import BinaryIO

import click
import msgspec

from cli import records
from cli.desk import Desk, at_desk
from cli.failures import Refusal
from cli.options import by_option, json_option, reason_option, reference_argument, to_line
from cli.output import print_json, safe
from rewardpost.address_check import LONGEST, check
from rewardpost.addresses import AddressDraft, AddressProblem, PostalAddress
from rewardpost.fulfilment import Fulfilment

_LARGEST_ADDRESS = 64 * 1024


@click.command()
@reference_argument
@click.option(
    "--tracking", type=to_line, metavar="TEXT", required=True, help="The carrier's tracking number; '' for none."
)
@by_option
@json_option
def shipped(*, reference: str, tracking: str, by: str, as_json: bool) -> None:
    """Note that the parcel of REFERENCE left; again for a further tracking number."""
    _change(lambda desk: desk.operations.shipped(reference, tracking), by=by, as_json=as_json)


@click.command()
@reference_argument
@by_option
@json_option
def retry(*, reference: str, by: str, as_json: bool) -> None:
    """Try REFERENCE again, or now instead of later, under the same name at the provider."""
    _change(lambda desk: desk.operations.retry(reference), by=by, as_json=as_json)


@click.command()
@reference_argument
@reason_option("cancelled by a person")
@by_option
@json_option
def cancel(*, reference: str, reason: str, by: str, as_json: bool) -> None:
    """Cancel REFERENCE, which must not have left; a call under way settles first."""
    _change(lambda desk: desk.operations.cancel(reference, reason), by=by, as_json=as_json)


@click.command()
@reference_argument
@reason_option("discarded by a person")
@by_option
@json_option
def discard(*, reference: str, reason: str, by: str, as_json: bool) -> None:
    """Close REFERENCE, which needs attention, without a parcel."""
    _change(lambda desk: desk.operations.discard(reference, reason), by=by, as_json=as_json)


def _address_options(command: Callable[..., None]) -> Callable[..., None]:
    for field in reversed(list(LONGEST)):
        command = click.option(f"--{field.replace('_', '-')}", field)(command)
    return command


@click.command()
@reference_argument
@_address_options
@click.option(
    "--file",
    type=click.File("rb"),
    help="A JSON object with the same fields (line_1, postal_code, …); - is standard input. It keeps an address out "
    "of the shell's history.",
)
@by_option
@json_option
def set_address(*, reference: str, file: BinaryIO | None, by: str, as_json: bool, **fields: str | None) -> None:
    """Give REFERENCE the address it waits for and send it on its way.

    Without a name, the one that the webhook gave is used. --country takes an ISO code or the country's name.
    """
    if (file is None) == (not any(fields.values())):
        raise click.UsageError("expected either address options or --file")
    draft = AddressDraft(**fields) if file is None else _read(file)

    async def work(desk: Desk) -> Fulfilment:
        known = await desk.operations.ledger.personal(reference)
        named = msgspec.structs.replace(draft, name=draft.name or known.name)
        address = _checked(named, desk.settings.ship_to_countries)
        return await desk.operations.set_address(reference, address)

    _change(work, by=by, as_json=as_json)


def _read(file: BinaryIO) -> AddressDraft:
    try:
        return msgspec.json.decode(file.read(_LARGEST_ADDRESS), type=AddressDraft)
    except msgspec.ValidationError as exc:
        raise Refusal(f"the address cannot be used: {exc}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal("the address cannot be used: expected one JSON object") from None


def _checked(draft: AddressDraft, served: frozenset[str] | None) -> PostalAddress:
    checked = check(draft, served=served)
    if isinstance(checked, PostalAddress):
        return checked
    raise Refusal(f"the address cannot be used: {_said(checked)}")


def _said(problem: AddressProblem) -> str:
    options = ", ".join(f"--{field.replace('_', '-')}" for field in problem.fields)
    match problem.kind:
        case "missing":
            return f"there is none; expected {options}"
        case "incomplete":
            return f"missing, too long or not valid in that country: {options}"
        case "country_unclear":
            return f"{options}: expected an ISO 3166 code such as DE, or a country's name"
        case "country_not_served":
            return f"{options}: SHIP_TO_COUNTRIES does not name this country"


def _change(work: Callable[[Desk], Awaitable[Fulfilment]], *, by: str, as_json: bool) -> None:
    """Do one change and print what has become of the reward."""
    record = at_desk(work, by=by)
    if as_json:
        print_json(records.line(record))
        return
    flags = "".join(f"; {flag}: {why}" for flag, why in record.flags.items())
    click.echo(f"{record.reference} is {record.state}: {safe(record.why)}{safe(flags)}")
