"""The verb `audit`: all reconcilers, now and in this process, and what they found."""

import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import aiohttp
import click

from cli.desk import Desk, at_desk
from cli.failures import REFUSED, WrongSetting
from cli.options import dry_run_option, json_option, to_instant
from cli.output import print_json, print_table
from rewardpost.settings import SettingsError
from worker.providers import registry as providers
from worker.reconcilers import registry as reconcilers
from worker.reconcilers.protocol import Report, Scope

_WORTH_TELLING = timedelta(seconds=1)


@click.command()
@click.option(
    "--since",
    type=to_instant,
    metavar="TIME",
    help="Look at all that was redeemed or ordered since then (ISO 8601), whatever was looked at before.",
)
@dry_run_option
@json_option
@click.pass_context
def audit(ctx: click.Context, *, since: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Compare the ledger with the queue, the provider and Voucherify now, and mend what can be mended.

    Rewards without a job get it back; redemptions whose webhook never came are taken in; orders that are unknown here,
    or there twice, are told, and a person is asked about them. Calls wait for their turn like those of the workers.

    Exit status 1 when a part could not be looked at.
    """
    try:
        reports = at_desk(lambda desk: _reports(desk, since=since, dry_run=dry_run))
    except SettingsError as exc:
        raise WrongSetting(str(exc)) from None
    if as_json:
        print_json(_as_data(reports))
    else:
        found = [finding for report in reports.values() for finding in report.findings]
        print_table(
            ("kind", "reference", "what", "done"),
            [(finding.kind, finding.reference, finding.what, finding.done) for finding in found],
        )
        for name, report in reports.items():
            click.echo(f"{name}: {_told(name, report, dry_run=dry_run)}", err=True)
    if any(report.failed for report in reports.values()):
        ctx.exit(REFUSED)


async def _reports(desk: Desk, *, since: datetime | None, dry_run: bool) -> dict[str, Report]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        provider = providers.build(desk.settings, session)
        try:
            parts = reconcilers.build(desk.settings, desk.redis, desk.keys, session, provider)
            reports = {}
            for name in reconcilers.LONGEST:
                scope = Scope(since=since, dry_run=dry_run, tell=_teller(name))
                reports[name] = await parts.run(name, scope)
            return reports
        finally:
            await provider.close()


def _teller(name: str) -> Callable[[timedelta], None]:
    def tell(wait: timedelta) -> None:
        if wait >= _WORTH_TELLING and sys.stderr.isatty():
            click.echo(f"{name}: waits {wait.total_seconds():.0f} s for its turn", err=True)

    return tell


def _told(name: str, report: Report, *, dry_run: bool) -> str:
    if report.passed_over:
        return f"passed over: {report.passed_over}"
    would = "would be " if dry_run else ""
    done = {
        "sweep": f"{report.done} job(s) {would}given back",
        "voucherify": f"{report.done} webhook(s) {would}taken in that had not come",
    }.get(name, f"{len(report.findings)} finding(s)")
    told = f"{done}, {report.checked} looked at"
    stopped = report.failed or report.unfinished
    return f"{told}; could not go on: {stopped}" if stopped else told


def _as_data(reports: Mapping[str, Report]) -> dict[str, object]:
    return {
        "findings": [
            {"kind": finding.kind, "reference": finding.reference, "what": finding.what, "done": finding.done}
            for report in reports.values()
            for finding in report.findings
        ],
        "sweep": reports["sweep"].done,
        "taken_in": reports["voucherify"].done,
        "checked": {name: report.checked for name, report in reports.items()},
        "passed_over": {name: report.passed_over for name, report in reports.items() if report.passed_over},
        "failed": {name: report.failed for name, report in reports.items() if report.failed},
    }
