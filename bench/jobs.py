"""Putting many jobs on a queue at once, for our engine and for arq's own worker."""

import pickle
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any

import redis

from bench.environment import ROOT
from rewardpost import codec
from rewardpost.keys import wake_up

QUEUE = "arq:queue"
_AT_ONCE = 20_000
# The server makes the keys itself: a million jobs would take a client a minute.
_FILL = """
local now = redis.call('TIME')
local due = now[1] * 1000
for number = ARGV[1], ARGV[2] do
  local id = string.format('%010d', number)
  redis.call('SET', 'arq:job:' .. id, ARGV[3])
  redis.call('ZADD', KEYS[1], due, id)
end
redis.call('DEL', KEYS[2])
redis.call('RPUSH', KEYS[2], '')
"""


def fill(url: str, jobs: int, *, ours: bool, first: int = 0) -> None:
    """Put so many jobs without arguments on arq's queue, due now; `first` is the number that names the first one."""
    job: dict[str, Any] = {"t": None, "f": "job", "a": (), "k": {}, "et": 0}
    payload = codec.encode(job) if ours else pickle.dumps(job)
    with redis.Redis.from_url(url) as client:
        for start in range(first, first + jobs, _AT_ONCE):
            last = min(start + _AT_ONCE, first + jobs) - 1
            client.eval(_FILL, 2, QUEUE, wake_up(QUEUE), start, last, payload)


def fill_peer(module: str, python: Path, url: str, jobs: int) -> None:
    """Let a peer's own client put so many jobs on its queue."""
    run(  # noqa: S603 - our own script, no shell
        [python, "-m", f"bench.peers.{module}", f"--url={url}", f"--jobs={jobs}", "--enqueue"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        stdout=DEVNULL,
        stderr=DEVNULL,
        timeout=120,
    )
