"""The verb `send`: signed webhooks from a file or the sample, one or many, to a door."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from cli import posting, sample, surroundings
from cli.failures import OutOfReach, Refusal, WrongSetting
from cli.options import json_option, to_line, to_url
from cli.output import print_json, progress, safe
from cli.posting import Tally
from rewardpost.settings import Settings

PATH = "/webhooks/voucherify"


@dataclass(frozen=True)
class Job:
    """What is to be sent, and where."""

    body: bytes
    url: str
    secret: str
    count: int
    concurrency: int
    distinct: bool

    def bodies(self) -> Iterator[bytes]:
        """Yield the bodies one by one."""
        if not self.distinct:
            for _ in range(self.count):
                yield self.body
            return
        webhook, run = json.loads(self.body), secrets.token_hex(4)
        for number in range(self.count):
            yield sample.encode(sample.distinct(webhook, f"{run}{number:08x}"))


@click.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--url", type=to_url, metavar="URL", help="The door; default: the one on this machine.")
@click.option("--secret", help="Signs the body; default: the first of VOUCHERIFY_WEBHOOK_SECRETS; '': unsigned.")
@click.option("--count", type=click.IntRange(min=1), default=1, help="How often; default: once.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=10, help="How many at a time; default: 10.")
@click.option("--distinct", is_flag=True, help="Each as another reward, with a redemption and an event of its own.")
@click.option("--wrap", is_flag=True, help="FILE holds the event's data alone: put the envelope around it.")
@click.option(
    "--envelope-id", type=to_line, metavar="TEXT", default=sample.ENVELOPE, help="Another id of the send-out (whs_…)."
)
@click.option(
    "--source",
    type=to_line,
    metavar="TEXT",
    default=sample.SOURCE,
    help="Another source: wh_… or distr_…, a distribution.",
)
@json_option
def send(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - read one by one in `_job`
    """Send FILE (- is standard input) as it is, signed; without FILE the sample, always the same bytes.

    The door's answers are counted; the exit status is 1 unless each of them was an acknowledgement.
    """
    settings = surroundings.settings()
    job = _job(settings, **options)
    with progress("sending", job.count) as step:
        tally = asyncio.run(
            posting.post_all(
                job.bodies(), url=job.url, secret=job.secret, concurrency=min(job.concurrency, job.count), step=step
            )
        )
    _report(job, tally, as_json=as_json)


def _job(
    settings: Settings,
    *,
    file: BinaryIO | None,
    url: str | None,
    secret: str | None,
    wrap: bool,
    envelope_id: str,
    source: str,
    distinct: bool,
    **numbers: int,
) -> Job:
    if file is not None and not wrap:
        body = file.read()
    else:
        content = sample.data() if file is None else _json(file.read())
        project = min(settings.voucherify_project_ids, default=sample.PROJECT)
        body = sample.encode(sample.wrap(content, project=project, envelope=envelope_id, source=source))
    if distinct and not _can_be_distinct(body):
        raise click.UsageError("--distinct: expected a JSON object with `data`; see --wrap")
    return Job(
        body=body,
        url=url or f"http://127.0.0.1:{settings.ingest_port}{PATH}",
        secret=_secret(settings) if secret is None else secret,
        distinct=distinct,
        **numbers,
    )


def _secret(settings: Settings) -> str:
    if settings.voucherify_webhook_secrets:
        return settings.voucherify_webhook_secrets[0]
    if settings.voucherify_allow_unsigned:
        return ""
    raise WrongSetting("VOUCHERIFY_WEBHOOK_SECRETS: expected a secret to sign with, here or as --secret")


def _json(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        raise click.UsageError("--wrap: expected JSON in FILE") from None


def _can_be_distinct(body: bytes) -> bool:
    try:
        webhook = json.loads(body)
    except ValueError:
        return False
    return isinstance(webhook, dict) and isinstance(webhook.get("data"), dict)


def _report(job: Job, tally: Tally, *, as_json: bool) -> None:
    if as_json:
        print_json({"sent": job.count, "answers": dict(tally.answers), "seconds": round(tally.seconds, 3)})
    elif job.count == 1 and tally.acknowledged:
        click.echo(f"{next(iter(tally.answers))}: delivery {safe(tally.delivery)}")
    elif not tally.out_of_reach:
        for answer, count in tally.answers.most_common():
            click.echo(f"{count}\t{answer}")
        click.echo(f"{job.count} in {tally.seconds:.2f} s", err=True)
    if tally.out_of_reach:
        raise OutOfReach(f"nobody listens at {job.url}: start the door (python -m ingest), or set --url")
    if not tally.acknowledged:
        raise Refusal(_refused(tally))


def _refused(tally: Tally) -> str:
    said = "; ".join(f"{answer}: {safe(detail)}" for answer, detail in tally.details.items())
    advice = " (another secret? set --secret)" if "unauthorized" in tally.details else ""
    return f"not all were acknowledged: {said}{advice}"
