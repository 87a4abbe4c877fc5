"""What the figures were measured on: kinds and versions, never a name of a host or a path."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import redis

_OURS = ("aiohttp", "arq", "hiredis", "msgspec", "redis", "uvloop")
_PEERS = ("celery", "fastapi", "saq", "streaq", "taskiq", "taskiq-redis", "uvicorn")


def describe(server_url: str) -> dict[str, str]:
    """Return what this machine is."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "server": _server(server_url),
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in _OURS),
    }


def peers(requirements: Path, package: Path) -> str:
    """Return the versions of the peers, from what pins them."""
    of_node: Mapping[str, str] = json.loads(package.read_text(encoding="utf-8"))["dependencies"]
    pins = dict(line.strip().split("==") for line in requirements.read_text().splitlines() if "==" in line)
    of_python = [f"{name} {pins[name]}" for name in _PEERS if name in pins]
    return ", ".join([*of_python, *(f"{name} {version}" for name, version in of_node.items()), *_node()])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _server(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        info = client.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def _node() -> list[str]:
    try:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)  # noqa: S607 - whichever is on the PATH
    except (OSError, subprocess.CalledProcessError):
        return []
    return [f"Node.js {told.stdout.strip().lstrip('v')}"]
