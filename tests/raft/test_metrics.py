"""What a node counts, beside what `RaftConsensus.samples` shows of a whole cluster."""

from __future__ import annotations

from orbit_lite.model import NodeId
from orbit_lite.raft import Configuration, Member, RaftConfig, RaftCore, bootstrap_state
from orbit_lite.raft.metrics import RaftMetrics, Sample
from orbit_lite.telemetry import Histogram

A, B, GONE = NodeId("a"), NodeId("b"), NodeId("gone")


def samples(metrics: RaftMetrics) -> list[Sample]:
    configuration = Configuration("test", (Member(A), Member(B)))
    core = RaftCore(A, RaftConfig(), bootstrap_state(configuration), now=0.0, random=lambda: 0.0)
    return list(metrics.samples(core.status(), is_running=True, applied=7, pending=3))


def test_every_name_begins_alike_and_comes_once_for_each_set_of_labels() -> None:
    metrics = RaftMetrics()
    metrics.round_trip(B, 0.1)
    found = [(sample.name, tuple(sample.labels.items())) for sample in samples(metrics)]
    assert len(found) == len(set(found))
    assert all(name.startswith("orbit_raft_") for name, _ in found)


def test_what_is_counted_elsewhere_is_shown_as_it_is() -> None:
    shown = {sample.name: sample.value for sample in samples(RaftMetrics())}
    assert shown["orbit_raft_proposals_applied_total"] == 7
    assert shown["orbit_raft_proposals_pending"] == 3
    assert shown["orbit_raft_has_leader"] == 0


def test_peers_that_left_are_forgotten() -> None:
    metrics = RaftMetrics()
    for peer in (B, B, GONE):
        metrics.round_trip(peer, 0.1)
    trips = [sample for sample in samples(metrics) if sample.labels]
    assert [sample.labels for sample in trips] == [{"to": "(default:b)"}]
    assert isinstance(trips[0].value, Histogram)
    assert trips[0].value.count == 2
    assert list(metrics.round_trips) == [B]
