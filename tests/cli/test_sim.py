"""`orbit-lite sim`: simulated clusters, in this process and in helpers of it."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbit_lite.testing.simulation import SimulationConfig, run_seeds

Orbit = Callable[..., Any]
Start = Callable[..., Any]

BRIEFLY = "--steps", "200", "--jobs", "1"


def test_a_clean_run_tells_what_happened_in_it(orbit: Orbit) -> None:
    outcome = orbit("sim", "--seeds", 2, "--nodes", 3, *BRIEFLY)
    assert (outcome.status, outcome.err) == (0, "")
    assert "message lost" in outcome.out
    assert re.search(r"(?m)^seeds +2, no rule was broken$", outcome.out)


def test_a_seed_comes_out_the_same_again(orbit: Orbit) -> None:
    def run(seed: int) -> dict[str, object]:
        outcome = orbit("sim", "--json", "--seeds", 1, "--first-seed", seed, *BRIEFLY)
        assert outcome.status == 0
        return {name: value for name, value in outcome.document.items() if name != "seconds"}

    assert run(7) == run(7)
    assert run(7) != run(8)
    assert run(7)["seeds"] == 1
    assert run(7)["violation"] is None


def test_a_broken_rule_ends_it_with_the_seed_and_a_short_trace(orbit: Orbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbit_lite.raft.quorum.is_majority", lambda voters, ayes: bool(ayes))  # one vote elects
    outcome = orbit("sim", "--seeds", 50, "--first-seed", 4, "--nodes", 3, *BRIEFLY)
    assert outcome.status == 1
    *trace, seed, rule, shortest, again = outcome.out.splitlines()
    number = int(seed.split()[1].rstrip(","))
    assert number >= 4
    assert rule.startswith("the rule: ")
    assert shortest.startswith("shortest run found: ")
    assert again == f"again: orbit-lite sim --seeds 1 --first-seed {number} --nodes 3"
    assert len(trace) > 2

    document = orbit("sim", "--json", "--brief", "--seeds", 1, "--first-seed", number, "--nodes", 3, *BRIEFLY).document
    assert document["violation"]["seed"] == number
    assert document["violation"]["rule"]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="the system has no signals")
@pytest.mark.parametrize("jobs", [1, 2])
def test_sigterm_ends_it_without_a_word(start: Start, jobs: int) -> None:
    process = start("sim", "--json", "--seeds", 100_000, "--steps", 50, "--jobs", jobs)
    time.sleep(3.0)  # it says nothing before its end; where it has not begun by now, the signal itself ends it
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert (out, err) == ("", "")
    assert process.returncode in {128 + signal.SIGTERM, -signal.SIGTERM}


def test_helpers_leave_ctrl_c_to_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deaf_machine.py").write_text(
        "import signal\n"
        "from orbit_lite.testing.simulation import KeyValueMachine\n"
        "def deaf():\n"
        "    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
        "    return KeyValueMachine()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    from deaf_machine import deaf  # type: ignore[import-not-found]  # it was just written

    try:
        reports = list(run_seeds(range(2), jobs=2, state_machine=deaf, config=SimulationConfig(steps=20)))
    finally:
        del sys.modules["deaf_machine"]
    assert [report.problem for report in reports] == ["", ""]
