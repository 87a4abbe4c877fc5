"""The verb `dead-letters`: look at deliveries that were set aside, put them back, or drop them."""

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import click

from cli import records
from cli.desk import Desk, at_desk
from cli.failures import Refusal
from cli.options import Command, dry_run_option, json_option, to_instant, to_line
from cli.output import moment, print_fields, print_json, print_json_line, print_table, progress, safe
from rewardpost.dead_letters import DeadLetter

_SHOWN_CHARACTERS = 4000

_Action = Callable[[Desk, DeadLetter], Awaitable[bool]]

reason_filter = click.option(
    "--reason", "code", type=to_line, metavar="TEXT", help="Only those with this code, such as not_json."
)
since_filter = click.option("--since", type=to_instant, metavar="TIME", help="Only those set aside since then.")


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Deliveries that could not be read or handled, whole, each with its reason."""


@dead_letters.command("list")
@reason_filter
@since_filter
@json_option
def list_letters(*, code: str | None, since: datetime | None, as_json: bool) -> None:
    """List dead letters, oldest first; in a pipe: id, time, code and reason, separated by tabs."""

    async def work(desk: Desk) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        async for letter in desk.letters.all(since=since, code=code):
            if as_json:
                print_json_line(records.dead_letter(letter))
            else:
                rows.append((letter.id, moment(letter.at), letter.code, letter.why))
        return rows

    rows = at_desk(work)
    if rows:
        print_table(("id", "since", "code", "why"), rows)
    elif not as_json:
        click.echo("no dead letters", err=True)


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the body's bytes as they came, and nothing else.")
@json_option
def show_letter(*, letter_id: str, raw: bool, as_json: bool) -> None:
    """Show the dead letter ID with its body, which may hold personal data."""
    letter = at_desk(lambda desk: _get(desk, letter_id))
    body = records.content(letter)
    if raw:
        click.echo(body, nl=False)
    elif as_json:
        print_json({**records.dead_letter(letter), "body": body.decode("utf-8", "backslashreplace")})
    else:
        print_fields((name, str(value or "")) for name, value in records.dead_letter(letter).items())
        click.echo(f"\n{_readable(body)}")


def _selection(command: Command) -> Command:
    """Add what says which dead letters are meant, and how sure the person is."""
    for option in (
        dry_run_option,
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--all", "everything", is_flag=True, help="All of them."),
        since_filter,
        reason_filter,
        click.argument("letter_ids", metavar="[ID]...", nargs=-1),
    ):
        command = option(command)
    return command


@dead_letters.command("replay")
@_selection
def replay(*, yes: bool, dry_run: bool, **chosen: Any) -> None:  # noqa: ANN401 - handed on to `_chosen` as they are
    """Put dead letters back on the queue as they came: those named, or all that the filters leave.

    In a terminal it asks before it touches more than one.
    """
    _act(_chosen(**chosen), lambda desk, letter: desk.letters.replay(letter), "replayed", yes=yes, dry_run=dry_run)


@dead_letters.command("discard")
@_selection
def discard(*, yes: bool, dry_run: bool, **chosen: Any) -> None:  # noqa: ANN401 - the same
    """Drop dead letters for good: those named, or all that the filters leave.

    In a terminal it asks before it touches more than one.
    """
    _act(_chosen(**chosen), lambda desk, letter: desk.letters.discard(letter), "discarded", yes=yes, dry_run=dry_run)


def _chosen(*, letter_ids: tuple[str, ...], code: str | None, since: datetime | None, everything: bool) -> list[str]:
    filtered = everything or code is not None or since is not None
    if bool(letter_ids) == filtered:
        raise click.UsageError("expected either ids, or a filter: --reason, --since, --all")

    async def work(desk: Desk) -> list[str]:
        if letter_ids:
            return [(await _get(desk, letter_id)).id for letter_id in dict.fromkeys(letter_ids)]
        return [letter.id async for letter in desk.letters.all(since=since, code=code)]

    return at_desk(work)


def _act(chosen: list[str], action: _Action, participle: str, *, yes: bool, dry_run: bool) -> None:
    if dry_run:
        for letter_id in chosen:
            click.echo(letter_id)
        click.echo(f"{len(chosen)} would be {participle}", err=True)
        return
    if len(chosen) > 1 and not yes and sys.stdin.isatty():
        click.confirm(f"{len(chosen)} dead letters would be {participle}. Go on?", abort=True, err=True)

    async def work(desk: Desk) -> int:
        count = 0
        with progress(participle, len(chosen)) as step:
            for letter_id in chosen:
                letter = await desk.letters.get(letter_id)
                count += letter is not None and await action(desk, letter)
                step()
        return count

    count = at_desk(work)
    click.echo(f"{count} {participle}")
    if count < len(chosen):
        raise Refusal(f"{len(chosen) - count} had gone meanwhile: somebody else acted on them, or they expired")


async def _get(desk: Desk, letter_id: str) -> DeadLetter:
    letter = await desk.letters.get(letter_id)
    if letter is None:
        raise Refusal(f"not found: there is no dead letter {safe(letter_id)}; see rewardpost dead-letters list")
    return letter


def _readable(body: bytes) -> str:
    """Return a body as lines that do nothing to a terminal, and no more of it than a person would read."""
    text = body.decode("utf-8", "backslashreplace")
    lines = (safe(line) for line in text[:_SHOWN_CHARACTERS].splitlines())
    more = [f"… {len(body)} bytes in all; --raw writes all of them"] if len(text) > _SHOWN_CHARACTERS else []
    return "\n".join([*lines, *more])
