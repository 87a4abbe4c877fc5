"""`python -m worker`: one worker process, until SIGTERM or SIGINT, or until Redis is lost."""

import asyncio
import os
import signal
import sys

import uvloop
from redis.exceptions import RedisError

from rewardpost import logs
from rewardpost.settings import SettingsError, load
from worker.composition import CannotStart, Workshop
from worker.edge import EdgeWorker

WRONG_SETTING = 2
OUT_OF_REACH = 3
_RETRY_SECONDS = 0.5

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
        if not await _redis_is_there(workshop, stop):
            return 0
        return await _work(EdgeWorker(**workshop.arq_settings()))
    finally:
        await workshop.close()


async def _work(worker: EdgeWorker) -> int:
    try:
        await worker.async_run()
    except asyncio.CancelledError:  # how arq's worker ends at a signal, with its jobs given back or done
        await worker.close()
        return 0
    except RedisError as exc:
        # Whoever supervises starts it again; what was in hand is free again when arq's mark on it expires.
        log.warning("redis_lost", error=type(exc).__name__)
        for job in worker.tasks.values():
            job.cancel()
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
        return OUT_OF_REACH
    return 0


async def _redis_is_there(workshop: Workshop, stop: asyncio.Event) -> bool:
    """Wait until Redis answers; False when a signal comes first."""
    while not stop.is_set():
        await workshop.heartbeat.beat()
        if workshop.heartbeat.problem is None:
            return not stop.is_set()
        try:
            await asyncio.wait_for(stop.wait(), _RETRY_SECONDS)
        except TimeoutError:
            continue
    return False


if __name__ == "__main__":
    sys.exit(main())
