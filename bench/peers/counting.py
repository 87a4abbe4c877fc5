"""What a worker under measurement counts, and how it hands the figures over: one line of JSON on its way out.

All times are of the machine's monotonic clock, which its processes share.
"""

import json
import os
import sys
import threading
import time
from argparse import ArgumentParser, Namespace

clock = time.monotonic


class Count:
    """Counts jobs until `jobs` of them have ended, or until standard input ends; then the process ends too."""

    def __init__(self, jobs: int) -> None:
        self.ends: list[float] = []
        self.waits: list[float] = []
        """Seconds from the sending of a job to its start, where the job says when it was sent."""
        self._jobs = jobs
        self._first: float | None = None
        self._told = threading.Lock()
        threading.Thread(target=self._wait_for_the_end, daemon=True).start()

    def start(self) -> None:
        """Note that a job starts; the first one is announced."""
        if self._first is None:
            self._first = clock()
            _say({"first": self._first})

    def end(self) -> None:
        """Note that a job has ended."""
        self.ends.append(clock())
        if len(self.ends) == self._jobs:
            self._tell()

    def _wait_for_the_end(self) -> None:
        sys.stdin.read()
        self._tell()

    def _tell(self) -> None:
        self._told.acquire()  # for good: whoever comes second waits for the exit
        _say({"first": self._first, "ends": self.ends, "waits": self.waits})
        os._exit(0)  # an orderly end is not what is measured, and the server is thrown away


def options() -> Namespace:
    """Return what a worker under measurement is told."""
    parser = ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a job lasts")
    parser.add_argument("--poll", type=float, default=0.5)
    parser.add_argument("--enqueue", action="store_true", help="put the jobs on the queue and end")
    return parser.parse_args()


def _say(figures: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
