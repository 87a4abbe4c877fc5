"""Environments of the peers, made on first use and kept: their libraries never enter the project's own."""

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
PEERS = Path(__file__).resolve().parent / "peers"
REQUIREMENTS = PEERS / "requirements.txt"
NODE = PEERS / "node"


@dataclass
class Environments:
    """Where the peers run; None for one that could not be made, with the reason in `missing`."""

    python: Path | None = None
    node: Path | None = None
    """The directory that has the door of the peer and its packages."""
    missing: dict[str, str] = field(default_factory=dict)


def make(say: Callable[[str], None]) -> Environments:
    """Make what is not there yet; what fails is said and left out."""
    found = Environments()
    for name, work in (("python", _python), ("node", _node)):
        try:
            setattr(found, name, work(say))
        except (OSError, subprocess.CalledProcessError) as exc:
            found.missing[name] = f"its environment could not be made ({type(exc).__name__})"
            say(f"THE PEERS OF {name.upper()} ARE NOT MEASURED: {_reason(exc)}")
    return found


def _python(say: Callable[[str], None]) -> Path:
    place = CACHE / "python"
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp = _Stamp(place, REQUIREMENTS)
    if not stamp.fresh:
        say("making the Python peers' environment")
        venv.create(place, with_pip=True, clear=True)
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS], place)
        stamp.set()
    return python


def _node(say: Callable[[str], None]) -> Path:
    place = CACHE / "node"
    stamp = _Stamp(place, NODE / "package-lock.json")
    place.mkdir(parents=True, exist_ok=True)
    for file in NODE.iterdir():
        shutil.copy(file, place / file.name)
    if not stamp.fresh:
        say("making the Node.js peer's environment")
        _run(["npm", "ci", "--silent"], place)
        stamp.set()
    return place


class _Stamp:
    """Says whether an environment was made from the pins as they are now."""

    def __init__(self, place: Path, pins: Path) -> None:
        self._file = place / ".installed"
        self._digest = hashlib.sha256(pins.read_bytes()).hexdigest()

    @property
    def fresh(self) -> bool:
        return self._file.is_file() and self._file.read_text(encoding="ascii") == self._digest

    def set(self) -> None:
        self._file.write_text(self._digest, encoding="ascii")


def _run(command: list[str | Path], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True)  # noqa: S603 - our own command, no shell


def _reason(exc: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(exc, subprocess.CalledProcessError):
        lines = exc.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {exc.returncode}"
    return str(exc)
