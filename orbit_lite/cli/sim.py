"""The verb `sim`: Raft clusters in virtual time, with everything going wrong, one run for each seed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from orbit_lite.cli.options import json_option
from orbit_lite.cli.output import is_terminal, print_json, print_pairs, print_table
from orbit_lite.cli.problems import FAILED

if TYPE_CHECKING:
    from orbit_lite.model import Json
    from orbit_lite.testing.simulation import Report, SimulationConfig, Summary

__all__ = ["sim"]

_PROGRESS_INTERVAL = 1.0  # seconds


@click.command(short_help="Simulate clusters in which everything goes wrong.")
@click.option("--seeds", type=click.IntRange(1), default=100, show_default=True, help="How many runs.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of the first run.")
@click.option("--nodes", type=click.IntRange(1, 9), help="Founders of each cluster; else 3 and 5 in turns.")
@click.option(
    "--steps", type=click.IntRange(1), default=2000, show_default=True, help="Events with faults in each run."
)
@click.option("--jobs", type=click.IntRange(1), help="Processes; else one for each processor.")
@click.option("--brief", is_flag=True, help="Do not look for a shorter run that fails.")
@json_option
def sim(
    *, seeds: int, first_seed: int, nodes: int | None, steps: int, jobs: int | None, brief: bool, as_json: bool
) -> int:
    """Simulate Raft clusters in virtual time, one run for each seed.

    Messages are lost, doubled, late; disks are slow, full, torn; processes die, stop and return; members come and go.
    Every rule of Raft is checked after every step, and the clients' history for linearizability. The first broken rule
    ends it with exit status 1, the seed, and the shortest trace that was found.
    """
    from orbit_lite.testing.simulation import SimulationConfig, Summary, run_seeds

    config = SimulationConfig(steps=steps)
    summary, began = Summary(), time.monotonic()
    shown = began
    failed = None
    batch = run_seeds(
        range(first_seed, first_seed + seeds), jobs=min(seeds, jobs or os.cpu_count() or 1), nodes=nodes, config=config
    )
    with _ended_by_sigterm(), closing(batch):
        for report in batch:
            summary.add(report)
            if not report.ok:
                failed = report
                break
            if not as_json and is_terminal(sys.stderr) and time.monotonic() - shown > _PROGRESS_INTERVAL:
                shown = time.monotonic()
                print(f"\r{summary.seeds} of {seeds} seeds", end="", file=sys.stderr, flush=True)
    if shown != began:
        print(end="\r\033[K", file=sys.stderr, flush=True)
    elapsed = time.monotonic() - began
    shortest = failed if failed is None or brief else _shortest(failed, config)
    if as_json:
        print_json(_document(summary, elapsed, shortest))
    else:
        _print(summary, elapsed, shortest)
    return FAILED if failed is not None else 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process as an exception does: not before its helpers have ended."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _shortest(failed: Report, config: SimulationConfig) -> Report:
    from orbit_lite.testing.simulation import explain, run_seed

    return explain(
        failed,
        lambda plan, traced: run_seed(failed.seed, failed.nodes, config=config, plan=plan, traced=traced),
    )


def _document(summary: Summary, elapsed: float, failed: Report | None) -> Json:
    document: dict[str, Json] = {
        "seeds": summary.seeds,
        "steps": summary.steps,
        "calls": summary.calls,
        "virtual_seconds": round(summary.time, 3),
        "seconds": round(elapsed, 3),
        "coverage": dict(summary.coverage),
        "never": list(summary.never),
        "violation": None,
    }
    if failed is not None:
        document["violation"] = {
            "seed": failed.seed,
            "nodes": failed.nodes,
            "rule": failed.rule,
            "problem": failed.problem,
            "actions": [str(action) for action in failed.actions],
            "trace": list(failed.trace),
        }
    return document


def _print(summary: Summary, elapsed: float, failed: Report | None) -> None:
    if failed is not None:
        from orbit_lite.testing.simulation import RULES

        for line in failed.trace:
            print(line)
        print(f"\nseed {failed.seed}, {failed.nodes} nodes: {failed.problem}")
        print(f"the rule: {RULES.get(failed.rule, failed.rule)}")
        print(f"shortest run found: {failed.steps} steps, {len(failed.actions)} actions; above is its trace")
        print(f"again: orbit-lite sim --seeds 1 --first-seed {failed.seed} --nodes {failed.nodes}")
        return
    print_table(
        ["what happened", ">times"],
        [(name, times) for name, times in sorted(summary.coverage.items(), key=lambda item: (-item[1], item[0]))],
    )
    print()
    print_pairs(
        [
            ("seeds", f"{summary.seeds}, no rule was broken"),
            ("steps", summary.steps),
            ("client calls", summary.calls),
            ("virtual time", f"{summary.time / 3600:.2f} h"),
            ("time", f"{elapsed:.1f} s"),
            ("never happened", ", ".join(summary.never) or "nothing was left out"),
        ]
    )
