"""The verb `doctor`: the whole configuration, then what is right, what is not, and what to do about it."""

import asyncio
from collections.abc import Sequence

import aiohttp
import click

from cli import checks, surroundings
from cli.desk import CALL_TIMEOUT, Desk, desk_of, out_of_reach
from cli.failures import OUT_OF_REACH, REFUSED
from cli.options import json_option
from cli.output import print_fields, print_json, safe
from rewardpost.connection import UNREACHABLE, connect
from rewardpost.settings import Settings, shown
from worker.providers.protocol import Finding

Found = list[tuple[str, Finding]]
"""Findings with the area that each belongs to."""


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Print the configuration, secrets hidden, and check what it leads to.

    Exit status 1 when something is wrong, 3 when the server is out of reach.
    """
    settings = surroundings.settings()
    found, reached = asyncio.run(_examine(settings))
    if as_json:
        _print_as_json(settings, found)
    else:
        print_fields((name, value or "-") for name, value in shown(settings).items())
        click.echo()
        for area, finding in found:
            _print_finding(area, finding)
    if not reached:
        ctx.exit(OUT_OF_REACH)
    if not all(finding.ok for _, finding in found):
        ctx.exit(REFUSED)


async def _examine(settings: Settings) -> tuple[Found, bool]:
    """Make all checks that can be made; the second value says whether the server answered."""
    redis = connect(settings.redis_url, call_timeout=CALL_TIMEOUT)
    found: Found = []
    reached = True
    try:
        desk = desk_of(settings, redis, by="doctor")
        async with aiohttp.ClientSession() as session:
            for area in checks.CHECKS:
                if not reached and area not in checks.WITHOUT_SERVER:
                    continue
                findings, answered = await _check(area, desk, session)
                reached = reached and answered
                found += [(area, finding) for finding in findings]
    finally:
        await redis.aclose()
    return found, reached


async def _check(area: str, desk: Desk, session: aiohttp.ClientSession) -> tuple[Sequence[Finding], bool]:
    try:
        return await checks.CHECKS[area](desk, session), True
    except UNREACHABLE as exc:
        return [Finding(ok=False, what=out_of_reach(desk.settings, exc))], False


def _print_as_json(settings: Settings, found: Found) -> None:
    findings = [{"area": area, "ok": finding.ok, "what": finding.what, "todo": finding.todo} for area, finding in found]
    print_json({"settings": shown(settings), "findings": findings})


def _print_finding(area: str, finding: Finding) -> None:
    word, colour = ("problem", "red") if not finding.ok else ("note", "yellow") if finding.todo else ("ok", "green")
    click.echo(f"{click.style(word.ljust(8), fg=colour)}{area.ljust(11)}{safe(finding.what)}")
    if finding.todo:
        click.echo(f"{' ' * 19}-> {safe(finding.todo)}")
