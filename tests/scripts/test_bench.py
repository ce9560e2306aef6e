"""The pure parts of scripts/bench: statistics, ratios, targets, and what is written."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import raft, raft_side, report, targets, works
from benchmarks.load import turns
from benchmarks.plot import svg
from benchmarks.processes import Contender, halves
from benchmarks.results import Results, Spread, percentile, ratio_of
from benchmarks.run import Run

OURS, REFERENCE = "orbit-lite", "grpc.aio"
TINY = "tiny, 16 in flight"
LOAD = (0.1, 0.1, 0.1)


def results(ours: Sequence[float], theirs: Sequence[float]) -> Results:
    found = Results()
    for contender, values in ((OURS, ours), (REFERENCE, theirs)):
        for value in values:
            found.add("unary", TINY, contender, {"calls_per_s": value})
    return found


def verdict(found: Results, name: str) -> targets.Verdict:
    return next(each for each in targets.verdicts(found) if each.target.name.startswith(name))


def facts(run: Run) -> report.Facts:
    return report.Facts.gather(run, ["--quick"], LOAD, LOAD)


def test_a_spread_has_median_and_extremes() -> None:
    assert Spread.of([5, 1, 2]) == Spread(2, 1, 5)


def test_a_spread_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


@pytest.mark.parametrize(("values", "noisy"), [([100, 90, 110], False), ([100, 80, 120], True), ([0, 0], False)])
def test_a_figure_is_noisy_when_its_repeats_are_far_apart(values: list[float], noisy: bool) -> None:
    assert Spread.of(values).is_noisy is noisy


@pytest.mark.parametrize(("part", "value"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(part: float, value: int) -> None:
    assert percentile(range(1, 101), part) == value


def test_there_is_no_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_ratio_compares_repeat_with_repeat() -> None:
    # A disturbance that slows both sides of the last repeat leaves the ratio as it is.
    assert ratio_of([200, 200, 20], [100, 100, 10]) == Spread(2, 2, 2)


def test_there_is_no_ratio_against_what_was_not_measured() -> None:
    assert ratio_of([1.0], []) is None
    assert ratio_of([1.0], [0.0]) is None


@pytest.mark.parametrize(("ours", "text"), [(900, "missed"), (1000, "reached"), (1499, "reached"), (1500, "goal")])
def test_a_target_is_judged_by_the_median_of_its_ratios(ours: float, text: str) -> None:
    found = results([ours, ours, 1], [100, 100, 100])
    assert verdict(found, "tiny unary, 16 in flight").text == text


@pytest.mark.parametrize(("kilobytes", "text"), [(13, "missed"), (12, "reached"), (6, "goal")])
def test_less_memory_is_better(kilobytes: float, text: str) -> None:
    found = Results()
    found.add("memory", "idle connection", OURS, {"kb": kilobytes})
    assert verdict(found, "server memory").text == text


def test_a_target_without_figures_is_not_judged() -> None:
    assert {each.text for each in targets.verdicts(Results())} == {"not measured"}


def test_growth_is_that_of_the_worst_number_of_streams() -> None:
    found = Results()
    for case, cost in (("1 open stream", 100.0), ("100 open streams", 130.0), ("1,000 open streams", 110.0)):
        found.add("scaling", case, OURS, {"cpu_us": cost})
    found.add("scaling", "1 connection", OURS, {"cpu_us": 100.0})
    found.add("scaling", "1,000 connections", OURS, {"cpu_us": 119.0})
    found.add("scaling", "1,000 connections, 16 in flight", OURS, {"cpu_us": 200.0})
    assert verdict(found, "cost of a call, 1 to 1,000 open streams").found == Spread(1.3, 1.3, 1.3)
    assert verdict(found, "cost of a call, 1 to 1,000 connections").text == "reached"


def test_repeats_are_interleaved_and_change_direction() -> None:
    first, second = Contender("a", "a"), Contender("b", "b")
    order = [
        (repeat, contender.name) for repeat, contender in Run((first, second), repeats=2).interleaved([first, second])
    ]
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a")]


@pytest.mark.parametrize(
    ("cpus", "shares"),
    [
        ([], ([], [])),
        ([0], ([], [])),
        ([1, 0], ([0], [1])),
        ([0, 1, 2], ([0], [1, 2])),
        ([4, 5, 6, 7], ([4, 5], [6, 7])),
    ],
)
def test_server_and_client_share_no_cpu(cpus: list[int], shares: tuple[list[int], list[int]]) -> None:
    assert halves(cpus) == shares


@pytest.mark.parametrize(("callers", "workers"), [(1, 4), (4, 4), (10, 3), (3, 5)])
def test_the_workers_use_every_connection(callers: int, workers: int) -> None:
    used = set()
    for worker in range(workers):
        mine = turns(range(callers), workers, worker)
        used |= {next(mine) for _ in range(callers)}
    assert used == set(range(callers))


def test_the_works_are_the_same_bytes_in_betterproto_and_orbit_lite() -> None:
    from orbit_lite.codec import encode

    ours, plain = works.generated(), works.plain()
    for make in (works.make_tiny, works.make_typical, lambda schema: works.make_message(schema, 1000)):
        assert encode(make(ours)) == bytes(make(plain))


@pytest.mark.parametrize("name", ["tiny", "typical", "stream"])
def test_the_raw_echo_sends_as_many_bytes(name: str) -> None:
    from orbit_lite.codec import encode

    schema = works.generated()
    made = {"tiny": works.make_tiny(schema), "typical": works.make_typical(schema)}
    message = made.get(name) or works.make_message(schema, 1000)
    assert len(encode(message)) == works.SIZES[name]


def test_the_measured_machine_comes_back_from_its_snapshot() -> None:
    machine, other = raft_side.PutMachine(), raft_side.PutMachine()
    for key, value in ((b"", b""), (b"a", b"1"), (b"key2", b"v" * 300), (b"a", b"2")):
        machine.apply(1, raft_side.KEY_LENGTH.pack(len(key)) + key + value)
    other.apply(1, raft_side.KEY_LENGTH.pack(1) + b"zx")
    other.restore(machine.snapshot())
    assert (other.values, other.revision) == ({b"": b"", b"a": b"2", b"key2": b"v" * 300}, 4)


def test_without_etcd_the_cluster_is_measured_alone_and_that_is_said() -> None:
    run = Run((Contender(OURS, OURS),), repeats=2)
    labels = [label for label, _ in raft.raft(run)]
    assert labels[1:-1] == [f"raft: {count} in flight, {OURS}" for count in (1, 64, 256) for _ in range(2)]
    assert "no program etcd" in run.results.notes["raft", OURS]


def test_with_etcd_both_clusters_take_turns() -> None:
    run = Run((Contender(OURS, OURS),), repeats=2, etcd=Path("etcd"))
    turns_of = [label.rpartition(", ")[2] for label, _ in raft.raft(run)][1:5]
    assert turns_of == [OURS, "etcd", "etcd", OURS]


def test_a_wrong_reply_ends_the_measurement() -> None:
    schema = works.generated()
    with pytest.raises(works.WrongMessage):
        works.read_tiny(schema.HealthCheckResponse())


def test_a_plot_is_xml_with_a_bar_for_each_contender() -> None:
    root = ElementTree.fromstring(svg(results([100, 120], [50])))  # noqa: S314  # our own
    assert [element.text for element in root.iter() if element.text in {OURS, REFERENCE}] == [OURS, REFERENCE]


def test_the_markdown_has_targets_figures_and_remarks() -> None:
    run = Run((Contender(OURS, OURS), Contender(REFERENCE, REFERENCE)), results=results([1500], [100]))
    run.results.note("unary", OURS, "limits raised")
    text = report.as_markdown(run, facts(run), "plot.svg")
    assert "| tiny unary, 16 in flight, against grpc.aio | 10 × | 15 × | 15.00 | 15.00–15.00 | goal |" in text
    assert "- orbit-lite: limits raised" in text
    assert "(plot.svg)" in text


def test_text_around_the_generated_part_stays() -> None:
    first = report.merged("", "old")
    edited = first.replace("# Performance", "# Performance\n\nBy hand.") + "More by hand.\n"
    again = report.merged(edited, "new")
    assert "By hand." in again
    assert again.endswith("More by hand.\n")
    assert "old" not in again


def test_noisy_figures_are_named() -> None:
    assert list(report.warnings(results([100, 200], [100, 100]))) == [
        f"unary: {TINY}, {OURS}: repeats differ by 67% of the median"
    ]


def test_a_disturbed_run_says_so() -> None:
    found = results([100, 100], [100, 100])
    found.add("unary", TINY, "quiet", {"calls_per_s": 100.0, "others": 0.05})
    assert list(report.warnings(found)) == []
    found.add("unary", TINY, "disturbed", {"calls_per_s": 100.0, "others": 0.9})
    (warning,) = report.warnings(found)
    assert warning.startswith("other processes took more than 0.15 cores during 1 of 2 figures, up to 0.90")


def test_a_busy_machine_is_said() -> None:
    run = Run(())
    busy = report.Facts.gather(run, [], (os.cpu_count() or 1, 0.0, 0.0), LOAD)
    assert any("not quiet" in line for line in busy.lines())
    assert not any("not quiet" in line for line in facts(run).lines())
