"""Whole clusters in virtual time: many seeds break no rule, one seed is one run, a rule taken out is missed."""

from __future__ import annotations

from collections import Counter

import pytest

from orbit_lite.raft import quorum
from orbit_lite.testing.simulation import EFFECTS, KINDS, SimulationConfig, run_seed

BATCH = 12

#: Seeds that once failed, when no run had an adversary, and why.
ONCE = {
    36: "clients did not follow a leader's name to a node that joined later",
    304: "a voter that was being removed did not campaign, and only its log could win",
    374: "a chunk of one snapshot was confirmed after another snapshot had taken its place",
    5639: "an entry of an earlier leader was confirmed after a later one had overwritten it",
    11569: "votes of a campaign were asked for when the disk held the next one already",
    1657: "a leader elected late was blamed for what a later one had committed",
}


@pytest.mark.parametrize("first", range(0, 10 * BATCH, BATCH))
def test_no_rule_is_broken(first: int) -> None:
    for seed in range(first, first + BATCH):
        report = run_seed(seed)
        assert not report.problem, f"orbit-lite sim --seeds 1 --first-seed {seed}: {report.rule}: {report.problem}"


@pytest.mark.parametrize("seed", ONCE, ids=str)
def test_no_rule_is_broken_again(seed: int) -> None:
    report = run_seed(seed, config=SimulationConfig(adversary=0.0))
    assert not report.problem, f"orbit-lite sim --seeds 1 --first-seed {seed}: {report.rule}: {report.problem}"


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_one_seed_is_one_run(nodes: int) -> None:
    first, second, other = run_seed(7, nodes), run_seed(7, nodes), run_seed(8, nodes)
    assert (first.digest, first.steps, first.time) == (second.digest, second.steps, second.time)
    assert first.digest != other.digest


def test_what_can_go_wrong_does() -> None:
    seen: Counter[str] = Counter()
    for seed in range(40):
        seen.update(run_seed(seed).coverage)
    assert len(set(KINDS) - set(seen)) <= 2
    assert len(set(EFFECTS) - set(seen)) <= len(EFFECTS) // 4
    assert seen["snapshot installed"]
    assert seen["restart"]


def test_a_majority_that_is_none_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule is taken out once by `nox -s mutation`; this one shows that the checks bite at all."""
    monkeypatch.setattr(quorum, "reached_by_majority", max)
    assert any(run_seed(seed, 3).rule for seed in range(20))
