"""The verb `dev`: everything on this machine, the sample's way from webhook to parcel, and a house that stays open."""

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from cli import posting, sample, surroundings
from cli.desk import CALL_TIMEOUT, desk_of
from cli.embedded_server import EmbeddedServerError
from cli.failures import Refusal, WrongSetting
from cli.following import Followed, Step, at_rest
from cli.house import AlreadyOpen, House
from cli.output import moment, safe
from cli.posting import Tally
from cli.send import PATH
from cli.supervision import StartFailed
from rewardpost import reference
from rewardpost.connection import connect
from rewardpost.settings import SettingsError
from rewardpost.states import State

_CANCEL_PATIENCE_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=surroundings.DATA,
    help="Where everything is kept; default: ./data.",
)
@click.option("--verbose", is_flag=True, help="Let door and worker log here instead of into files.")
def dev(*, data: Path, verbose: bool) -> None:
    """Run everything on this machine, on an embedded server, and show the sample's way from webhook to parcel.

    It stays up until Ctrl-C; a second start on the same folder finds everything again. Variables that are set win
    over what is chosen here, but for REDIS_URL.
    """
    try:
        asyncio.run(_Day(data, verbose=verbose).live())
    except SettingsError as exc:
        raise WrongSetting(str(exc)) from None
    except (AlreadyOpen, EmbeddedServerError, StartFailed) as exc:
        raise Refusal(str(exc)) from None


class _Day:
    """From opening the house to closing it."""

    def __init__(self, data: Path, *, verbose: bool) -> None:
        self._data = data
        self._verbose = verbose
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def live(self) -> None:
        """Open the house, follow the sample, wait for a signal, close the house."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        if os.environ.get("REDIS_URL") or os.environ.get("REDIS_URL_FILE"):
            _say("REDIS_URL is set, but not used here: dev has a server of its own")
        house = House(self._data, os.environ, _say, verbose=self._verbose)
        inside = asyncio.create_task(_show(house))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({inside, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            while not inside.done():  # redis-py can swallow a cancelling on Python 3.11
                inside.cancel()
                await asyncio.wait({inside}, timeout=_CANCEL_PATIENCE_SECONDS)
            failures = await asyncio.gather(inside, return_exceptions=True)
            await self._close(house)
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _close(self, house: House) -> None:
        if self._stop.is_set():
            _say("stopping …")
        await house.close(self._hurry)
        if self._stop.is_set():
            _say(f"stopped: every process has ended, the data is in {self._data}")


async def _show(house: House) -> None:
    """Open the house, send the sample, tell what becomes of it, then stay."""
    await house.open()
    _say(f"open: {house.door}{PATH} takes webhooks in, the data is in {house.data}")
    sent_at, body = datetime.now(UTC), _body(house)
    secret = next(iter(house.settings.voucherify_webhook_secrets), "")
    tally = await posting.post_all([body], url=f"{house.door}{PATH}", secret=secret, concurrency=1)
    _tell_answer(tally, sent_at)
    followed = Followed(_sample_reference(), tally.delivery)
    if tally.acknowledged:
        await _follow(house, followed, sent_at)
    _tell_end(followed)
    _tell_what_next(house, followed)
    await house.worn_out()


def _body(house: House) -> bytes:
    project = min(house.settings.voucherify_project_ids, default=sample.PROJECT)
    return sample.encode(sample.wrap(sample.data(), project=project))


def _sample_reference() -> str:
    return reference.for_redemption(sample.data()["redemption"]["id"])


async def _follow(house: House, followed: Followed, sent_at: datetime) -> None:
    redis = connect(house.settings.redis_url, call_timeout=CALL_TIMEOUT)
    try:
        async for step in followed.steps(desk_of(house.settings, redis, by="dev")):
            _tell_step(step, sent_at)
    finally:
        await redis.aclose()


def _tell_answer(tally: Tally, sent_at: datetime) -> None:
    _say("")
    _say("The sample's way from webhook to parcel:")
    now = datetime.now(UTC)
    _tell_step(Step(sent_at, "sent", "customer.rewarded, signed"), sent_at)
    answer = next(iter(tally.answers))
    if answer == posting.STORED:
        _tell_step(Step(now, "acknowledged", "202 stored"), sent_at)
        _tell_step(Step(now, "queued", f"delivery {tally.delivery}, on disk before the answer"), sent_at)
    elif tally.acknowledged:
        _tell_step(Step(now, "acknowledged", f"202 {answer}: it came before, nothing is done twice"), sent_at)
    else:
        _tell_step(Step(now, "refused", f"{answer}: {tally.details.get(answer, '')}"), sent_at)


def _tell_step(step: Step, sent_at: datetime) -> None:
    seconds = (step.at - sent_at).total_seconds()
    when = f"{seconds:7.3f} s" if seconds >= 0 else moment(step.at)
    _say(f"  {when}  {click.style(step.what.ljust(13), bold=True)} {safe(step.detail)}")


def _tell_end(followed: Followed) -> None:
    if followed.letter is not None:
        _say(f"It was set aside: {followed.letter.code}, {safe(followed.letter.why)}")
        _say(f"  {_command()} dead-letters show {followed.letter.id}")
    elif followed.record is not None and at_rest(followed.record):
        tracking = f", tracking {', '.join(followed.record.tracking)}" if followed.record.tracking else ""
        flags = "".join(f"; {flag}: {why}" for flag, why in followed.record.flags.items())
        _say(f"  it is {followed.record.state} now{safe(tracking)}{safe(flags)}")
    else:
        _say("  it is still under way")


def _tell_what_next(house: House, followed: Followed) -> None:
    command, name = _command(), followed.reference
    _say("")
    if followed.record is not None and followed.record.state is State.SUBMITTED:
        _say("A parcel waits to be packed. In another terminal, in this folder:")
        _say(f"  {command} packing-list")
        _say(f"  {command} shipped {name} --tracking NUMBER")
    _say(f"  {command} show {name}")
    if house.data.resolve() != surroundings.DATA.resolve():
        _say(f"with REDIS_URL={house.settings.redis_url}")
    else:
        _say(f"From other folders: REDIS_URL={house.settings.redis_url}")
    _say("Ctrl-C stops everything.")


def _command() -> str:
    """Return how the command can be called from the shell that called it."""
    return "rewardpost" if shutil.which("rewardpost") else sys.argv[0]


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that has been closed must not keep the house from being closed
        click.echo(line)
