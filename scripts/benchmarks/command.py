"""Measure orbit-lite beside grpclib, grpc.aio, synchronous grpcio and a raw asyncio echo, in one run, interleaved.

Every side of every contender is a process of its own. What the figures mean is said in docs/performance.md, which
`--markdown` writes. A quiet machine with two cores at least is assumed; load and spread are printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.codec import codec
from benchmarks.layers import layers
from benchmarks.memory import memory
from benchmarks.plot import svg
from benchmarks.processes import Contender, SideFailed
from benchmarks.raft import raft
from benchmarks.run import FLOOR, OURS, Run, interpreter
from benchmarks.scaling import scaling
from benchmarks.startup import startup
from benchmarks.stream import stream
from benchmarks.unary import payload, pool, unary

SCENARIOS = {
    "unary": unary,
    "pool": pool,
    "payload": payload,
    "stream": stream,
    "memory": memory,
    "scaling": scaling,
    "codec": codec,
    "startup": startup,
    "layers": layers,
    "raft": raft,
}
PEERS = ("grpclib", "grpc.aio", "grpcio", FLOOR)
QUICK_SECONDS, QUICK_REPEATS = 0.08, 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--scenario", action="append", choices=SCENARIOS, metavar="NAME", help=f"only this: {', '.join(SCENARIOS)}")
    add("scenarios", nargs="*", metavar="SCENARIO", help="only these; the same as --scenario")
    add("--contender", action="append", choices=(OURS, *PEERS), metavar="NAME", help="only this, may be repeated")
    add("--python", action="append", default=[], metavar="PATH", help="orbit-lite on this interpreter too")
    add("--etcd", type=Path, metavar="PATH", help="the program that `raft` compares with (default: from PATH)")
    add("--repeats", type=int, default=5, metavar="N", help="interleaved repeats of everything (default: %(default)s)")
    add("--seconds", type=float, default=1.0, metavar="S", help="of each measurement (default: %(default)s)")
    add("--quick", action="store_true", help="one short repeat of everything: shows that it runs, not how fast")
    add("--json", type=Path, metavar="FILE", help="write all figures of all repeats")
    add("--svg", type=Path, metavar="FILE", help="write a plot")
    add("--markdown", type=Path, metavar="FILE", help="write the tables; text outside of the marks stays")
    found = parser.parse_args()
    if found.repeats < 1 or found.seconds <= 0:
        parser.error("--repeats and --seconds must be positive")
    if unknown := sorted({*found.scenarios} - {*SCENARIOS}):
        parser.error(f"no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    found.scenario = [*(found.scenario or ()), *found.scenarios]
    return found


def contenders(options: argparse.Namespace) -> list[Contender]:
    """Raises OSError or CalledProcessError for an interpreter that does not run."""
    wanted = options.contender or (OURS, *PEERS)
    found = [Contender(name, name) for name in (OURS, *PEERS) if name in wanted]
    for python in options.python:
        implementation, version = interpreter(python)
        found.insert(1, Contender(f"{OURS}, {implementation} {version}", OURS, python, implementation == "PyPy"))
    return found


def measure(run: Run, names: list[str], console: Console) -> None:
    """All scenarios, one step after the other."""
    columns = (TextColumn("{task.description:<58}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=1, transient=True) as progress:
        plan = [step for name in names for step in SCENARIOS[name](run)]
        task = progress.add_task("", total=len(plan))
        try:
            for label, action in plan:
                progress.update(task, description=label)
                action()
                progress.advance(task)
        finally:
            run.end()


def main() -> int:
    options = arguments()
    console = Console(stderr=True)
    try:
        run = Run(contenders(options), options.repeats, options.seconds)
    except (OSError, subprocess.CalledProcessError) as error:
        console.print(f"scripts/bench: {error}", markup=False)
        return 2
    if options.etcd is None and (found := shutil.which("etcd")) is not None:
        options.etcd = Path(found)
    run.etcd = options.etcd
    if options.quick:
        run.repeats, run.seconds, run.quick = QUICK_REPEATS, QUICK_SECONDS, True
    before = os.getloadavg()
    try:
        measure(run, options.scenario or list(SCENARIOS), console)
    except SideFailed as error:
        console.print(f"scripts/bench: {error}", markup=False)
        return 1
    facts = report.Facts.gather(run, sys.argv[1:], before, os.getloadavg())
    report.show(Console(), run, facts)
    write(options, run, facts)
    return 0


def write(options: argparse.Namespace, run: Run, facts: report.Facts) -> None:
    """The files asked for."""
    if options.json:
        options.json.write_text(report.as_json(run, facts), encoding="utf-8")
    if options.svg:
        options.svg.write_text(svg(run.results), encoding="utf-8")
    if options.markdown:
        document: Path = options.markdown
        plot = os.path.relpath(options.svg, document.parent) if options.svg else None
        existing = document.read_text(encoding="utf-8") if document.exists() else ""
        document.write_text(report.merged(existing, report.as_markdown(run, facts, plot)), encoding="utf-8")
