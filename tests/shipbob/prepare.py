"""Installs prism as its lock file pins it: `python -m tests.shipbob.prepare`; needs npm, and does nothing twice.

Without the packages' own scripts: one of them would tell its makers about the installation.
"""

import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_PLACE = _HERE.parent.parent / ".cache" / "shipbob"
EXECUTABLE = _PLACE / "node_modules" / ".bin" / "prism"


def main() -> int:
    """Install what is not there yet, and return the exit status."""
    wanted = {name: (_HERE / name).read_bytes() for name in ("package.json", "package-lock.json")}
    there = {name: _PLACE / name for name in wanted}
    if EXECUTABLE.exists() and all(there[name].read_bytes() == content for name, content in wanted.items()):
        return 0
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("expected npm on the PATH\n")
        return 1
    _PLACE.mkdir(parents=True, exist_ok=True)
    for name, content in wanted.items():
        there[name].write_bytes(content)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    return subprocess.call(command, cwd=_PLACE)  # noqa: S603 - nothing of it comes from outside


if __name__ == "__main__":
    sys.exit(main())
