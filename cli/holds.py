"""Verbs that stop dispatching and let it go on: `hold` and `release`."""

from collections.abc import AsyncIterator

import click

from cli import records
from cli.desk import Desk, at_desk
from cli.options import by_option, dry_run_option, json_option, reason_option, reference_argument, to_line
from cli.output import print_json, print_json_line, print_table, progress, safe
from rewardpost.fulfilment import Fulfilment
from rewardpost.states import State
from worker.providers import registry as providers

EVERYTHING = "everything"

provider_argument = click.argument("provider", type=click.Choice(providers.names()))
article_argument = click.argument("article", metavar="ARTICLE", type=to_line)
to_hold = reason_option()
to_release = reason_option("released by a person")


@click.group()
def hold() -> None:
    """Stop dispatching until it is released; what has been submitted already goes on."""


@hold.command("everything")
@to_hold
@by_option
def hold_everything(*, reason: str, by: str) -> None:
    """Stop every dispatch."""
    _hold(EVERYTHING, reason, by)


@hold.command("provider")
@provider_argument
@to_hold
@by_option
def hold_provider(*, provider: str, reason: str, by: str) -> None:
    """Stop every dispatch to PROVIDER."""
    _hold(f"provider:{provider}", reason, by)


@hold.command("article")
@article_argument
@to_hold
@by_option
def hold_article(*, article: str, reason: str, by: str) -> None:
    """Stop every dispatch of ARTICLE."""
    _hold(f"article:{article}", reason, by)


@hold.command("reward")
@reference_argument
@to_hold
@by_option
@json_option
def hold_reward(*, reference: str, reason: str, by: str, as_json: bool) -> None:
    """Hold the one reward REFERENCE."""
    record = at_desk(lambda desk: desk.operations.hold(reference, reason), by=by)
    _print_one(record, "held", as_json=as_json)


@hold.command("list")
@json_option
def list_holds(*, as_json: bool) -> None:
    """List what is held at large; single held rewards: rewardpost list --held."""

    async def work(desk: Desk) -> dict[str, str]:
        return await desk.operations.holds()

    held = at_desk(work)
    if as_json:
        print_json(held)
    else:
        print_table(("held", "why"), sorted(held.items()))


@click.group()
def release() -> None:
    """Lift a hold and send on what it held."""


@release.command("everything")
@to_release
@by_option
@dry_run_option
@json_option
def release_everything(*, reason: str, by: str, dry_run: bool, as_json: bool) -> None:
    """Lift the hold on everything, and send on what a shadow run (DISPATCH=hold) held."""
    _release(EVERYTHING, reason, by, dry_run=dry_run, as_json=as_json)


@release.command("provider")
@provider_argument
@to_release
@by_option
@dry_run_option
@json_option
def release_provider(*, provider: str, reason: str, by: str, dry_run: bool, as_json: bool) -> None:
    """Lift the hold on PROVIDER."""
    _release(f"provider:{provider}", reason, by, dry_run=dry_run, as_json=as_json)


@release.command("article")
@article_argument
@to_release
@by_option
@dry_run_option
@json_option
def release_article(*, article: str, reason: str, by: str, dry_run: bool, as_json: bool) -> None:
    """Lift the hold on ARTICLE."""
    _release(f"article:{article}", reason, by, dry_run=dry_run, as_json=as_json)


@release.command("reward")
@reference_argument
@to_release
@by_option
@json_option
def release_reward(*, reference: str, reason: str, by: str, as_json: bool) -> None:
    """Release the one reward REFERENCE, past SHIP_SINCE too."""
    record = at_desk(lambda desk: desk.operations.release(reference, reason), by=by)
    _print_one(record, "released", as_json=as_json)


def _hold(scope: str, reason: str, by: str) -> None:
    at_desk(lambda desk: desk.operations.hold_at_large(scope, reason), by=by)
    click.echo(f"held: {safe(_named(scope))}; to let it go on: rewardpost release {safe(_named(scope))}")


def _release(scope: str, reason: str, by: str, *, dry_run: bool, as_json: bool) -> None:
    async def work(desk: Desk) -> tuple[bool, int]:
        was_held = scope in await desk.operations.holds()
        if dry_run:
            return was_held, await _print_references(_held_by(desk, scope), as_json=as_json)
        counts = await desk.operations.counts()
        released = desk.operations.release_at_large(scope, reason)
        with progress("sending on", counts[State.READY]) as step:
            count = 0
            async for record in released:
                step()
                count += 1
                if as_json:
                    print_json_line(records.line(record))
        return was_held, count

    was_held, count = at_desk(work, by=by)
    if not as_json:
        verb = "would be sent on" if dry_run else "sent on"
        note = "" if was_held else " (it was not held at large)"
        click.echo(f"released: {safe(_named(scope))}{note}; {count} {verb}" if not dry_run else f"{count} {verb}{note}")


def _held_by(desk: Desk, scope: str) -> AsyncIterator[Fulfilment]:
    sources = {scope, "dispatch"} if scope == EVERYTHING else {scope}

    async def held() -> AsyncIterator[Fulfilment]:
        async for record in desk.operations.in_states(State.READY):
            if record.hold is not None and record.hold.source in sources:
                yield record

    return held()


async def _print_references(found: AsyncIterator[Fulfilment], *, as_json: bool) -> int:
    count = 0
    async for record in found:
        if as_json:
            print_json_line(records.line(record))
        else:
            click.echo(record.reference)
        count += 1
    return count


def _named(scope: str) -> str:
    return scope.replace(":", " ", 1)


def _print_one(record: Fulfilment, participle: str, *, as_json: bool) -> None:
    if as_json:
        print_json(records.line(record))
    else:
        click.echo(f"{record.reference} is {participle} ({record.state})")
