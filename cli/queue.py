"""Verbs that stop the queue and let it go on: `pause` and `resume`."""

import click

from cli.desk import Desk, at_desk
from cli.failures import Refusal
from cli.options import by_option, json_option, reason_option
from cli.output import print_json, safe


@click.command()
@reason_option()
@by_option
@json_option
def pause(*, reason: str, by: str, as_json: bool) -> None:
    """Have workers claim no more jobs; what runs ends, and the door takes webhooks in as before.

    To stop only the sending of parcels, use rewardpost hold.
    """
    why = f"{reason} (by {by})"
    at_desk(lambda desk: desk.queue.pause(why), by=by)
    _print(why, as_json=as_json)


@click.command()
@json_option
def resume(*, as_json: bool) -> None:
    """Have workers claim jobs again."""

    async def work(desk: Desk) -> None:
        if not await desk.queue.resume():
            raise Refusal("the queue is not paused")

    at_desk(work)
    _print(None, as_json=as_json)


def _print(paused: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"paused": paused})
    else:
        click.echo("resumed: workers claim jobs again" if paused is None else f"paused: {safe(paused)}")
