"""`python -m bench [PART …]`: measures, prints the table, and keeps the raw figures and the plots.

Exit status 0 whatever the figures are, 1 when something broke: then its rows are missing and the rest is reported.
"""

import json
import os
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import environment, machine, report
from bench.context import Context
from bench.figures import Part, Row
from bench.parts import burst, claim, door, memory, pickup, scaling, start, whole, worker
from bench.plot import draw
from bench.processes import fresh_server

PARTS: Mapping[str, Callable[[Context], Part]] = {
    "door": door.measure,
    "worker": worker.measure,
    "pickup": pickup.measure,
    "scaling": scaling.measure,
    "whole": whole.measure,
    "claim": claim.measure,
    "memory": memory.measure,
    "burst": burst.measure,
    "start": start.measure,
}

_QUIET = 0.5
"""The load average above which others are at work on the machine."""


def main() -> int:
    """Measure and report."""
    told = _options()
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:5.0f} s] {text}\n")

    load = os.getloadavg()[0]
    if load > _QUIET:
        say(f"THE MACHINE IS NOT QUIET (load {load:.1f}): look at the spread before you believe a ratio")
    rounds = told.rounds or (5 if told.full else 3)
    context = Context(rounds=rounds, full=told.full, peers=environment.make(say), say=say)
    parts, broken = _measure(told.parts or list(PARTS), context)
    with fresh_server(durable=False) as server:
        found = machine.describe(server.url)
    found["peers"] = machine.peers(environment.REQUIREMENTS, environment.NODE / "package.json")
    run = {
        "rounds": rounds,
        "full": told.full,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "broken": broken,
        "load_before": load,
    }
    _keep(report.results(parts, found, run), parts, told)
    report.show([row for part in parts.values() for row in part.rows], Console())
    for name, reason in context.peers.missing.items():
        say(f"THE PEERS OF {name.upper()} WERE NOT MEASURED: {reason}")
    for name in broken:
        say(f"THE PART {name} BROKE, see above")
    return 1 if broken else 0


def _measure(names: list[str], context: Context) -> tuple[dict[str, Part], list[str]]:
    parts, broken = {}, []
    for name in names:
        try:
            parts[name] = PARTS[name](context)
        except Exception as exc:  # noqa: BLE001 - one part that breaks must not take the figures of the others with it
            traceback.print_exc()
            broken.append(name)
            reason = f"it broke: {type(exc).__name__}"
            parts[name] = Part(rows=[Row(what=f"the part `{name}`", measured=None, note=reason)], raw={}, settings="")
    return parts, broken


def _keep(results: dict[str, Any], parts: Mapping[str, Part], told: Namespace) -> None:
    told.out.mkdir(parents=True, exist_ok=True)
    name = "-".join(["results", *told.parts])  # one part alone must not take the place of a whole run
    path = told.json or told.out / f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for part in parts.values():
        for plot in part.plots:
            (told.out / plot.file).write_text(draw(plot), encoding="utf-8")


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description="Measure the door and the workers against their peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all without")
    parser.add_argument("--full", action="store_true", help="longer, with more rounds")
    parser.add_argument("--rounds", type=int, help="how often each figure is taken")
    parser.add_argument("--json", type=Path, help="where the raw figures go; default: in --out")
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="where plots and figures go")
    told = parser.parse_args()
    unknown = [name for name in told.parts if name not in PARTS]
    if unknown:
        parser.error(f"expected parts out of {', '.join(PARTS)}, got {', '.join(unknown)}")
    return told


if __name__ == "__main__":
    sys.exit(main())
