"""Verbs that look: `list`, `show` and `stats`."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import click

from cli import lines, records
from cli.desk import Desk, at_desk
from cli.failures import Refusal
from cli.options import json_option, reference_argument
from cli.output import moment, print_fields, print_json, print_json_line, print_table, safe, style_of
from cli.records import Data
from rewardpost.fulfilment import Entry, Fulfilment, Personal
from rewardpost.states import State

UNDER_WAY = (
    State.NEEDS_ATTENTION,
    State.NEEDS_ADDRESS,
    State.UNKNOWN,
    State.SUBMITTED,
    State.READY,
    State.RECEIVED,
    State.DISPATCHING,
)
"""What `list` shows when no state is named: all that has not left or ended, what wants a person first."""


@click.command(name="list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    metavar="STATE",
    help="Only this state; may be given several times. Default: all that has not left or ended. States: "
    + ", ".join(State)
    + ".",
)
@click.option("--held", is_flag=True, help="Only what is held.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@json_option
def list_rewards(*, states: tuple[str, ...], held: bool, limit: int | None, as_json: bool) -> None:
    """List rewards, those that want a person first.

    In a pipe: reference, state, article, time of the last change, flags and reason, separated by tabs. With --json:
    one JSON document a line.
    """
    wanted = [State(state) for state in dict.fromkeys(states)] or UNDER_WAY

    async def work(desk: Desk) -> int:
        found = _limited(desk.operations.in_states(*wanted), held=held, limit=limit)
        return await _print_lines(found) if as_json else await _print_rows(found)

    if not at_desk(work) and not as_json:
        click.echo("nothing to list", err=True)


async def _limited(found: AsyncIterator[Fulfilment], *, held: bool, limit: int | None) -> AsyncIterator[Fulfilment]:
    count = 0
    async for record in found:
        if held and record.hold is None:
            continue
        yield record
        count += 1
        if count == limit:
            return


async def _print_lines(found: AsyncIterator[Fulfilment]) -> int:
    count = 0
    async for record in found:
        print_json_line(records.line(record))
        count += 1
    return count


async def _print_rows(found: AsyncIterator[Fulfilment]) -> int:
    rewards = [record async for record in found]
    print_table(
        ("reference", "state", "article", "since", "flags", "why"),
        [
            (
                record.reference,
                record.state.value,
                record.article or "",
                moment(record.changed_at),
                _flags(record),
                record.why,
            )
            for record in rewards
        ],
        styles=[style_of(record.state) for record in rewards],
    )
    return len(rewards)


@click.command()
@reference_argument
@click.option("--personal", "with_personal", is_flag=True, help="Also print name, e-mail and address.")
@json_option
def show(*, reference: str, with_personal: bool, as_json: bool) -> None:
    """Tell the whole story of one reward.

    REFERENCE is the reward's reference (vfy-…) or the redemption's id (r_…).
    """

    async def work(desk: Desk) -> tuple[Fulfilment, list[Entry], Personal | None]:
        ledger = desk.operations.ledger
        view = await ledger.load(reference)
        if view.record is None:
            raise Refusal(_unknown(reference, view.done))
        known = await ledger.personal(reference) if with_personal else None
        return view.record, await ledger.journal(reference), known

    record, journal, known = at_desk(work)
    if as_json:
        told = records.story(record, journal)
        print_json(told if known is None else {**told, "personal": records.personal(known)})
        return
    _print_record(record)
    if known is not None:
        _print_personal(known)
    _print_journal(journal)


def _unknown(reference: str, done: State | None) -> str:
    if done is not None:
        return f"not found: {reference} ended as {done}, and its record has expired since"
    return f"not found: the ledger knows no reward {reference}; see rewardpost list, rewardpost dead-letters list"


def _print_record(record: Fulfilment) -> None:
    print_fields(
        [
            ("reference", record.reference),
            ("redemption", record.redemption or ""),
            ("customer", record.customer or ""),
            ("state", record.state.value),
            ("why", record.why),
            *((flag, why) for flag, why in record.flags.items()),
            ("kind", record.kind),
            ("article", record.article or ""),
            ("article name", record.article_name),
            ("provider", record.provider or ""),
            ("provider order", record.provider_order or ""),
            ("tracking", ", ".join(record.tracking)),
            ("generation", str(record.generation)),
            ("attempts", str(record.attempts)),
            ("redeemed", moment(record.redeemed_at)),
            ("received", moment(record.received_at)),
            ("changed", moment(record.changed_at)),
            ("due", moment(record.due)),
        ]
    )


def _print_personal(known: Personal) -> None:
    address: Data = records.personal(known)["address"] or {}
    shown = {"name": known.name, "email": known.email, "source id": known.source_id}
    parts = {f"address {part}": str(text) for part, text in address.items() if part != "version"}
    click.echo()
    print_fields([*((name, text or "") for name, text in shown.items()), *parts.items()])


def _print_journal(journal: Sequence[Entry]) -> None:
    click.echo()
    for entry in journal:
        way = entry.after.value if entry.before in {None, entry.after} else f"{entry.before} -> {entry.after}"
        attempt = f", attempt {entry.attempt}" if entry.attempt else ""
        request = f", request {entry.request}" if entry.request else ""
        when = click.style(moment(entry.at), dim=True)
        click.echo(f"{when}  {way}: {safe(entry.why)} ({safe(entry.by)}{attempt}{safe(request)})")


def _flags(record: Fulfilment) -> str:
    return ", ".join(f"{flag}: {why}" for flag, why in record.flags.items())


@click.command()
@json_option
def stats(*, as_json: bool) -> None:
    """Count the jobs on the queue, the dead letters, the rewards in each state and the workers alive.

    Also says what waits for its turn to call Voucherify or the provider, and when all of it will be through.
    """

    async def work(desk: Desk) -> Data:
        depth = await desk.queue.depth()
        counts = await desk.operations.counts()
        return {
            "queue": {
                "queued": depth.queued,
                "deferred": depth.deferred,
                "running": depth.running,
                "oldest_seconds": depth.oldest_seconds,
            },
            "dead_letters": await desk.letters.count(),
            "fulfilments": {state.value: count for state, count in counts.items()},
            "workers": await desk.queue.workers(),
            "paused": await desk.queue.paused(),
            **await lines.waiting(desk, depth, counts),
        }

    counted = at_desk(work)
    if as_json:
        print_json(counted)
        return
    queue, fulfilments, paused = counted.pop("queue"), counted.pop("fulfilments"), counted.pop("paused")
    waiting = lines.rows(counted.pop("limits"), counted.pop("through_seconds"), datetime.now(UTC))
    rows = [(name.replace("_", " "), f"{value:g}") for name, value in {**queue, **counted}.items()]
    states = [(state, str(count)) for state, count in fulfilments.items() if count]
    print_table(("what", "count"), [*rows, *states, *waiting, *([("paused", safe(paused))] if paused else [])])
