"""The process of the door: `python -m ingest`, configured by its environment alone.

Exit status 0 after SIGTERM or SIGINT, 1 when the address is not free, 2 when a setting is wrong. With
`INGEST_PROCESSES` above 1 it only starts and ends others like itself, which it hands the port that they share as an
argument.
"""

import asyncio
import os
import signal
import sys

from ingest.processes import run_processes
from ingest.serving import PortTaken, open_door
from rewardpost import logs, settings
from rewardpost.settings import Settings, SettingsError

if sys.platform != "win32":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop


def main(arguments: list[str]) -> int:
    """Run the door until it is told to stop, and return the exit status."""
    try:
        configuration = settings.load(os.environ)
        logs.configure(configuration.log_format, stream=sys.stdout)
        logs.report_uncaught()
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_serve(configuration, int(arguments[0]) if arguments else None))
    except SettingsError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    except PortTaken as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


async def _serve(configuration: Settings, shared_port: int | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if configuration.ingest_processes > 1 and shared_port is None:
        return await run_processes(configuration, os.environ, stop)
    if shared_port is not None:
        _end_with_parent(loop, stop)
    async with open_door(configuration, shared_port=shared_port):
        await stop.wait()
    return 0


def _end_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The other end of this pipe is the parent's. If it is killed we must not go on: nobody would ever end us, and the
    # door that is started in its place could not have the port.
    def parent_has_ended() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    loop.add_reader(sys.stdin, parent_has_ended)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
