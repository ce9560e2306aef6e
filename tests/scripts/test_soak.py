"""The pure part of scripts/soak.py, and one short run."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

import soak


def test_growth_is_that_of_the_fitted_line() -> None:
    assert soak.fitted_growth([0.0, 10.0, 20.0], [5, 6, 7]) == pytest.approx(2.0)
    assert soak.fitted_growth([0.0, 10.0, 20.0], [5, 9, 5]) == pytest.approx(0.0)
    assert soak.fitted_growth([0.0], [5]) == 0.0


@pytest.mark.parametrize("name", ["memory", "descriptors", "tasks"])
def test_what_climbs_after_the_warm_up_is_told(name: str) -> None:
    run = soak.Soak(seed=1, minutes=1.0, clients=1)
    for number in range(10):
        held = {"memory": 1, "descriptors": 1, "tasks": 1} | {name: number * 10 * soak.MIB}
        run.samples.append(soak.Sample(at=number * 10.0, objects=Counter(), **held))
    (told,) = run.verdict()
    assert told.startswith(name)


def test_calls_that_outlive_their_end_are_told() -> None:
    run = soak.Soak(seed=1, minutes=1.0, clients=1)
    run.samples = [soak.Sample(10.0, 1, 1, 1, Counter({"rpc.client.ClientCall": 1000}))]
    assert run.verdict() == ["1000 rpc.client.ClientCall with no call under way, tolerated 40"]


@pytest.mark.slow
def test_a_short_run_ends_no_call_wrongly() -> None:
    done = subprocess.run(
        [sys.executable, soak.__file__, "--minutes", "0.05", "--seed", "1", "--clients", "4"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing was left behind"), done.stdout + done.stderr
