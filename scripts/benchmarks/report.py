"""The figures as tables on a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata

from rich.console import Console
from rich.table import Table

from benchmarks.processes import available, halves
from benchmarks.results import Results, Spread
from benchmarks.run import OURS, REFERENCE, Run
from benchmarks.targets import Verdict, verdicts

PACKAGES = ("betterproto", "grpclib", "h2", "grpcio", "protobuf")
#: Per scenario: metric, heading, decimals. The first one is compared.
COLUMNS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "codec": (
        ("all_us", "all, µs", 2),
        ("construct_us", "construct", 2),
        ("encode_us", "encode", 2),
        ("decode_us", "decode", 2),
        ("read_us", "read", 2),
    ),
    "memory": (("kb", "KB each", 1),),
    "startup": (("ms", "ms", 0),),
    "layers": (
        ("tiny_client", "tiny, client", 2),
        ("tiny_server", "tiny, server", 2),
        ("typical_client", "typical, client", 2),
        ("typical_server", "typical, server", 2),
    ),
    "raft": (
        ("calls_per_s", "puts/s", 0),
        ("client_us", "client CPU µs", 1),
        ("server_us", "nodes' CPU µs", 1),
        ("fsyncs", "fsyncs/put", 3),
        ("others", "others", 2),
        ("p50_us", "p50 µs", 0),
        ("p99_us", "p99 µs", 0),
    ),
    "scaling": (
        ("cpu_us", "CPU µs/call", 1),
        ("calls_per_s", "calls/s", 0),
        ("cores", "cores", 2),
        ("others", "others", 2),
        ("p99_us", "p99 µs", 0),
    ),
}
CALLS = (
    ("calls_per_s", "calls/s", 0),
    ("client_us", "client CPU µs", 1),
    ("server_us", "server CPU µs", 1),
    ("cores", "cores", 2),
    ("others", "others", 2),
    ("p50_us", "p50 µs", 0),
    ("p99_us", "p99 µs", 0),
    ("p999_us", "p99.9 µs", 0),
)
PEER = {"codec": "protobuf upb", "raft": "etcd"}
MOST_WARNINGS = 8
#: Cores used by others from which a run counts as disturbed; kernel threads and the progress line need some.
FOREIGN = 0.15
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Where and how the figures came about."""

    command: str
    machine: str
    python: str
    packages: dict[str, str]
    repeats: int
    seconds: float
    quick: bool
    placement: str
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]

    @classmethod
    def gather(
        cls,
        run: Run,
        arguments: Sequence[str],
        before: tuple[float, float, float],
        after: tuple[float, float, float],
    ) -> Facts:
        return cls(
            command=shlex.join(["scripts/bench", *arguments]),
            machine=f"{os.cpu_count()} × {cpu_name()}, {platform.system()} {platform.release()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            packages={name: version for name in PACKAGES if (version := version_of(name))},
            repeats=run.repeats,
            seconds=run.seconds,
            quick=run.quick,
            placement=placement(),
            load_before=before,
            load_after=after,
        )

    def lines(self) -> Iterator[str]:
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        before, after = (" ".join(f"{value:.2f}" for value in load) for load in (self.load_before, self.load_after))
        repeats = "one repeat" if self.repeats == 1 else f"{self.repeats} interleaved repeats"
        yield f"{self.machine}; {self.python}; {packages}"
        yield f"{repeats} of {self.seconds:g} s; load average {before} before, {after} after"
        yield self.placement
        if self.quick:
            yield "A quick run shows that everything works, not how fast: few calls, 100 streams instead of 1,000."
        if self.load_before[0] > 0.5:
            yield "The machine was not quiet before the run: neither figures nor ratios are to be quoted."


def placement() -> str:
    server, client = (", ".join(map(str, cpus)) for cpus in halves(available()))
    if not server:
        return "Server and client run where the system puts them: figures may differ by a factor of two."
    return f"Servers run on CPU {server}, clients on {client}; cores: what a pair used, others: all else meanwhile."


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# ---------------------------------------------------------------- tables


def number(value: float, decimals: int = 0) -> str:
    return f"{value:,.{decimals}f}"


def ratio_text(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def headings(scenario: str) -> Row:
    columns = COLUMNS.get(scenario, CALLS)
    if scenario == "payload":
        columns = (*columns, ("mb_per_s", "MB/s", 0))
    (_, first, _), *others = columns
    ratio = () if scenario == "layers" else (f"÷ {PEER.get(scenario, REFERENCE)}",)
    return ("", "", first, "min–max", *ratio, *(heading for _, heading, _ in others))


def rows(results: Results, scenario: str) -> Iterator[Row]:
    """One for each case and contender: medians, the spread of the first metric, its ratio against the reference."""
    columns = COLUMNS.get(scenario, CALLS)
    if scenario == "payload":
        columns = (*columns, ("mb_per_s", "MB/s", 0))
    (metric, _, decimals), *others = columns
    for case in results.cases(scenario):
        for contender in results.contenders(scenario):
            spread = results.spread(scenario, case, contender, metric)
            if spread is None:
                continue
            ratio = results.ratio(scenario, case, metric, contender, PEER.get(scenario, REFERENCE))
            compared = () if scenario == "layers" else (ratio_text(ratio),)
            rest = [
                ""
                if (other := results.spread(scenario, case, contender, name)) is None
                else number(other.median, digits)
                for name, _, digits in others
            ]
            width = f"{number(spread.low, decimals)}–{number(spread.high, decimals)}"
            yield (case, contender, number(spread.median, decimals), width, *compared, *rest)


def target_title(facts: Facts) -> str:
    return "targets (of a quick run: not to be quoted)" if facts.quick else "targets"


TARGET_HEADINGS = ("figure", "at least", "goal", "found", "min–max", "")


def judged(run: Run) -> list[Verdict]:
    for contender in run.contenders:
        if contender.kind == OURS and contender.pypy:
            return verdicts(run.results, contender.name)
    return verdicts(run.results)


def target_rows(run: Run) -> Iterator[Row]:
    for verdict in judged(run):
        target, found = verdict.target, verdict.found
        sign = "" if target.more else "≤ "
        bounds = ["" if bound is None else f"{sign}{bound:g} {target.unit}" for bound in (target.least, target.goal)]
        figures = ("", "") if found is None else (f"{found.median:.2f}", f"{found.low:.2f}–{found.high:.2f}")
        yield (target.name, *bounds, *figures, verdict.text)


def note_lines(results: Results, scenario: str) -> Iterator[str]:
    """What was not at its default, each remark once."""
    remarks: dict[str, list[str]] = {}
    for (of, contender), text in results.notes.items():
        if of == scenario:
            remarks.setdefault(text, []).append(contender)
    everybody = len(results.contenders(scenario))
    for text, names in remarks.items():
        yield text if len(names) == everybody else f"{', '.join(names)}: {text}"


def warnings(results: Results) -> Iterator[str]:
    foreign = [max(metrics["others"]) for metrics in results.values.values() if "others" in metrics]
    if disturbed := [share for share in foreign if share > FOREIGN]:
        # Not the same for all: who has few threads loses more, and the ratios shift.
        yield (
            f"other processes took more than {FOREIGN:g} cores during {len(disturbed)} of {len(foreign)} figures, "
            f"up to {max(disturbed):.2f}: neither figures nor ratios are to be quoted"
        )
    noisy = sorted(results.noisy("calls_per_s"), key=lambda pair: pair[1].relative, reverse=True)
    for key, spread in noisy[:MOST_WARNINGS]:
        yield f"{key.scenario}: {key.case}, {key.contender}: repeats differ by {spread.relative:.0%} of the median"
    if len(noisy) > MOST_WARNINGS:
        yield f"and {len(noisy) - MOST_WARNINGS} figures more: repeat the run on a quieter machine"


# ---------------------------------------------------------------- outputs


def show(console: Console, run: Run, facts: Facts) -> None:
    for line in facts.lines():
        console.print(line, markup=False, highlight=False)
    for scenario in run.results.scenarios():
        remarks = "; ".join(note_lines(run.results, scenario))
        table(console, scenario, headings(scenario), list(rows(run.results, scenario)), remarks)
    table(
        console,
        target_title(facts),
        TARGET_HEADINGS,
        list(target_rows(run)),
        f"× against {REFERENCE} and others of this run",
    )
    for warning in warnings(run.results):
        console.print(f"noisy: {warning}", style="yellow", markup=False, highlight=False)


def table(console: Console, title: str, head: Row, body: Sequence[Row], caption: str) -> None:
    shown = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for index, heading in enumerate(head):
        shown.add_column(heading, justify="left" if index < text_columns(head) else "right", no_wrap=True)
    previous = ""
    for row in body:
        if previous and row[0] != previous and head is not TARGET_HEADINGS:
            shown.add_section()
        shown.add_row("" if row[0] == previous else row[0], *row[1:])
        previous = row[0]
    if console.is_terminal:
        console.print(shown)
    else:  # a log has no width
        Console(file=console.file, width=200).print(shown)


def text_columns(head: Row) -> int:
    return 1 if head is TARGET_HEADINGS else 2


BEGIN, END = "<!-- scripts/bench writes from here -->", "<!-- to here -->"


def merged(existing: str, written: str) -> str:
    """A document with the part between the marks replaced, or a new one that is nothing else."""
    before, found, rest = existing.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        before, after = "# Performance\n\n", "\n"
    return f"{before}{BEGIN}\n\n{written}\n{END}{after}"


def as_markdown(run: Run, facts: Facts, plot: str | None) -> str:
    """plot: address of the SVG, as seen from the document."""
    parts = [f"Output of `{facts.command}`.", ""]
    parts += [f"- {line}" for line in facts.lines()]
    parts += ["", f"## {target_title(facts).capitalize()}", "", *grid(TARGET_HEADINGS, list(target_rows(run)))]
    if plot is not None:
        parts += ["", f"![Calls per second of all contenders]({plot})"]
    for scenario in run.results.scenarios():
        parts += ["", f"## {scenario.capitalize()}", ""]
        if remarks := list(note_lines(run.results, scenario)):
            parts += [*(f"- {remark}" for remark in remarks), ""]
        parts += grid(headings(scenario), list(rows(run.results, scenario)))
    if noisy := list(warnings(run.results)):
        parts += ["", "## Noise", "", *(f"- {line}" for line in noisy)]
    return "\n".join((*parts, ""))


def grid(head: Row, body: Sequence[Row]) -> Iterator[str]:
    texts = text_columns(head)
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' if index < texts else '---:' for index in range(len(head)))}|"
    for row in body:
        yield f"| {' | '.join(row)} |"


def as_json(run: Run, facts: Facts) -> str:
    notes = [{"scenario": of, "contender": who, "text": text} for (of, who), text in run.results.notes.items()]
    targets = [
        {
            "name": verdict.target.name,
            "least": verdict.target.least,
            "goal": verdict.target.goal,
            "unit": verdict.target.unit,
            "found": None if verdict.found is None else asdict(verdict.found),
            "verdict": verdict.text,
        }
        for verdict in judged(run)
    ]
    content = {"facts": asdict(facts), "targets": targets, "notes": notes, "figures": run.results.as_json()}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
