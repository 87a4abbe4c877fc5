"""`python -m worker`: one worker process, until SIGTERM or SIGINT, whatever Redis does meanwhile."""

import asyncio
import os
import signal
import sys

import uvloop

from rewardpost import logs
from rewardpost.settings import SettingsError, load
from worker.composition import CannotStart, Workshop
from worker.engine import Engine

WRONG_SETTING = 2

log = logs.get(__name__)


def main() -> int:
    """Run a worker; return its exit status."""
    try:
        settings = load(os.environ)
        logs.configure(settings.log_format, stream=sys.stdout)
        logs.report_uncaught()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(Workshop(settings)))
    except SettingsError as exc:
        sys.stderr.write(f"{exc}\n")
        return WRONG_SETTING
    except CannotStart as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


async def _run(workshop: Workshop) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # arq's worker puts its own in their place when it is made
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await workshop.open()
        worker = Engine(**workshop.arq_settings())
        if stop.is_set():  # the engine puts handlers of its own in place of these
            return 0
        try:
            await worker.async_run()
        except asyncio.CancelledError:  # how arq's worker ends at a signal
            await worker.close()
    finally:
        await workshop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
