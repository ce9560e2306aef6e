"""What became of the input: every row, every account, whether money was conserved, and what each node did and holds.

Computed from what was heard; nothing is asked or measured here. `document` is the JSON form, `print_report` the one for
people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from orbit_lite.cli.demo.audit import Replica
from orbit_lite.cli.demo.leadership import Succession
from orbit_lite.cli.demo.money import format_cents
from orbit_lite.cli.demo.rows import Rejection
from orbit_lite.cli.demo.teller import Holding
from orbit_lite.cli.demo.transfers import State, TransferRun
from orbit_lite.cli.output import print_table
from orbit_lite.errors import quote
from orbit_lite.model import Json

__all__ = ["NodeFigures", "Report", "document", "print_report"]

_SHOWN_ACCOUNTS = 5  # richest and poorest, each
_SHOWN_ROWS = 15


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One node.

    actors, served: actors that it hosts in the end and actor calls that came to it, from callers and from other nodes,
    as it says itself; problem: why it does not say. calls: actor calls that entered the cluster there; forwarded: those
    of them that another node ran; latencies: seconds that they took.
    """

    node: str
    url: str
    actors: int = 0
    served: int = 0
    calls: int = 0
    forwarded: int = 0
    errors: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    largest: float = 0.0
    problem: str = ""

    @property
    def latencies_ms(self) -> dict[str, float]:
        """In milliseconds, by name."""
        seconds = {"p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.largest}
        return {name: round(value * 1000, 3) for name, value in seconds.items()}


@dataclass(frozen=True)
class Report:
    """Everything that was heard.

    runs: all transfers of the input, in its order. started: those of them that were begun. opening: cents in each
    account at the start. seconds: what the transfers took together. losses: nodes that ended too early, in words.
    acknowledged: bookings of which an account said that they were made. replicas: the books of the nodes that run.
    succession: what became of the leader that was killed; None: none was. slowest: seconds that one transfer took.
    """

    source: str
    rejections: Sequence[Rejection]
    runs: Sequence[TransferRun]
    started: Sequence[TransferRun]
    opening: int
    holdings: Mapping[str, Holding]
    nodes: Sequence[NodeFigures]
    seconds: float
    losses: Sequence[str] = ()
    acknowledged: int = 0
    replicas: Sequence[Replica] = ()
    succession: Succession | None = None
    slowest: float = 0.0

    def in_state(self, *states: State) -> list[TransferRun]:
        """The transfers in one of the states, in file order."""
        return [run for run in self.runs if run.state in states]

    @cached_property
    def unsettled(self) -> list[TransferRun]:
        """Begun, and without a proven end."""
        open_runs = (run for run in self.started if not run.state.is_final)
        return sorted(open_runs, key=lambda run: run.transfer.line)

    @property
    def not_started(self) -> int:
        """Transfers that were never begun, because the run was broken off."""
        return len(self.runs) - len(self.started)

    @property
    def expected(self) -> int:
        """Cents in all accounts at the start."""
        return self.opening * len(self.holdings)

    @property
    def found(self) -> int:
        """Cents in all accounts that answered at the end."""
        return sum(holding.balance or 0 for holding in self.holdings.values())

    @property
    def silent(self) -> list[str]:
        """Accounts whose balance is not known."""
        return [name for name, holding in self.holdings.items() if holding.balance is None]

    @property
    def is_conserved(self) -> bool:
        """Every account answered, and together they hold what they held at the start."""
        return not self.silent and self.found == self.expected

    @property
    def is_durable(self) -> bool:
        """Every node that runs has all that was acknowledged in its books, and all have the same."""
        are_whole = all(replica.is_whole and replica.total == self.expected for replica in self.replicas)
        return are_whole and len({replica.digest for replica in self.replicas}) == 1

    @property
    def is_success(self) -> bool:
        """Conserved and durable, nothing unsettled, nothing left out, no node lost, and somebody leads."""
        is_led = self.succession is None or self.succession.successor is not None
        is_whole = self.is_conserved and self.is_durable and is_led
        return is_whole and not (self.unsettled or self.not_started or self.losses)

    @cached_property
    def refused(self) -> list[TransferRun]:
        """Transfers that an account refused, refunded or not, in file order."""
        return self.in_state(State.REJECTED, State.REFUNDED)


def _text(run: TransferRun) -> str:
    transfer = run.transfer
    return quote(f"{transfer.sender} → {transfer.receiver} {format_cents(transfer.amount)}", 100)


# ---------------------------------------------------------------- for machines


def document(report: Report) -> Json:
    """The report as JSON. Amounts are integers of cents."""
    return {
        "source": report.source,
        "conserved": report.is_conserved,
        "success": report.is_success,
        "seconds": round(report.seconds, 3),
        "slowest_seconds": round(report.slowest, 3),
        "rows": {
            "total": len(report.runs) + len(report.rejections),
            "done": len(report.in_state(State.DONE)),
            "refused": len(report.in_state(State.REJECTED)),
            "refunded": len(report.in_state(State.REFUNDED)),
            "bad": len(report.rejections),
            "unsettled": len(report.unsettled),
            "not_started": report.not_started,
        },
        "money": {"opening": report.opening, "expected": report.expected, "found": report.found},
        "balances": {name: holding.balance for name, holding in report.holdings.items()},
        "unknown_balances": {name: report.holdings[name].problem for name in report.silent},
        "bad_rows": [
            {"line": row.first, "last_line": row.last, "reason": row.reason, "row": row.text}
            for row in report.rejections
        ],
        "refused": [_run_document(run) for run in report.refused],
        "unsettled": [_run_document(run) for run in report.unsettled],
        "nodes": [_node_document(node) for node in report.nodes],
        "acknowledged": report.acknowledged,
        "durable": report.is_durable,
        "replicas": [_replica_document(replica) for replica in report.replicas],
        "succession": None if report.succession is None else _succession_document(report.succession),
        "losses": list(report.losses),
    }


def _run_document(run: TransferRun) -> Json:
    return {"line": run.transfer.line, "state": run.state.value, "reason": run.reason, "row": _text(run)}


def _node_document(node: NodeFigures) -> Json:
    return {
        "node": node.node,
        "url": node.url,
        "actors": node.actors,
        "served": node.served,
        "calls": node.calls,
        "forwarded": node.forwarded,
        "errors": node.errors,
        "latency_ms": {**node.latencies_ms},
        "problem": node.problem,
    }


def _replica_document(replica: Replica) -> Json:
    return {
        "node": replica.node,
        "applied": replica.applied,
        "total": replica.total,
        "digest": replica.digest,
        "missing": list(replica.missing),
        "problem": replica.problem,
    }


def _succession_document(succession: Succession) -> Json:
    killed, successor = succession.killed, succession.successor
    return {
        "killed": killed.node_id.key,
        "term": killed.term,
        "transfers_done": succession.done,
        "successor": None if successor is None else successor.node_id.key,
        "successor_term": None if successor is None else successor.term,
        "seconds_without_leader": round(succession.seconds, 3),
    }


# ---------------------------------------------------------------- for people


def print_report(report: Report, *, everything: bool = False) -> None:
    """Print it; everything: all balances and all rejected rows instead of a selection."""
    _print_balances(report, everything=everything)
    _print_bad_rows(report, everything=everything)
    _print_refused(report, everything=everything)
    _print_unsettled(report)
    _print_nodes(report)
    _print_replicas(report)
    for loss in report.losses:
        print(f"\n{loss}")
    print()
    _print_verdict(report)


def _print_balances(report: Report, *, everything: bool) -> None:
    known = [(name, holding.balance) for name, holding in report.holdings.items() if holding.balance is not None]
    known.sort(key=lambda pair: (-pair[1], pair[0]))
    left_out = 0 if everything else max(0, len(known) - 2 * _SHOWN_ACCOUNTS)
    shown = [(name, format_cents(balance)) for name, balance in known]
    if left_out:
        shown[_SHOWN_ACCOUNTS : _SHOWN_ACCOUNTS + left_out] = [(f"… {left_out} more, --all prints them", "")]
    print(f"\nBalances, {format_cents(report.opening)} each at the start")
    print_table(["account", ">balance"], shown, empty="no account")
    silent = [(name, report.holdings[name].problem) for name in report.silent]
    _print_some("Accounts without a balance", ["account", "why"], silent, everything=everything)


def _print_bad_rows(report: Report, *, everything: bool) -> None:
    rows = [
        (str(row.first) if row.first == row.last else f"{row.first}-{row.last}", row.reason, row.text)
        for row in report.rejections
    ]
    _print_some("Bad rows", [">line", "why it is no transfer", "row"], rows, everything=everything)


def _print_refused(report: Report, *, everything: bool) -> None:
    rows = [
        (run.transfer.line, run.reason + ("; refunded" if run.state is State.REFUNDED else ""), _text(run))
        for run in report.refused
    ]
    _print_some("Refused transfers", [">line", "reason", "transfer"], rows, everything=everything)


def _print_unsettled(report: Report) -> None:
    rows = [(run.transfer.line, run.state.value, run.reason, _text(run)) for run in report.unsettled]
    _print_some("Unsettled transfers", [">line", "state", "last heard", "transfer"], rows, everything=True)


def _print_some(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, everything: bool) -> None:
    if rows:
        shown = rows if everything else rows[:_SHOWN_ROWS]
        print(f"\n{title}: {len(rows)}")
        print_table(columns, shown)
        if len(shown) < len(rows):
            print(f"… {len(rows) - len(shown)} more, --all prints them")


def _print_nodes(report: Report) -> None:
    print("\nNodes: actor calls that each served and that entered there; milliseconds, as the caller saw them")
    columns = ["node", ">actors", ">served", ">entered", ">forwarded", ">errors", ">p50", ">p90", ">p99", ">max", ""]
    rows = [
        [
            node.node,
            "?" if node.problem else node.actors,
            "?" if node.problem else f"{node.served:,}",
            f"{node.calls:,}",
            f"{node.forwarded:,}",
            node.errors,
            *(f"{latency:.1f}" for latency in node.latencies_ms.values()),
            node.problem,
        ]
        for node in report.nodes
    ]
    print_table(columns, rows)


def _print_replicas(report: Report) -> None:
    print("\nBooks: the replicated ledger, as each node that runs holds it")
    rows = [
        [
            replica.node,
            f"{replica.applied:,}",
            format_cents(replica.total),
            f"{len(replica.missing):,}",
            replica.digest,
            replica.problem,
        ]
        for replica in report.replicas
    ]
    print_table(["node", ">log entries", ">money", ">missing", "digest", ""], rows, empty="no node runs")


def _print_succession(succession: Succession, slowest: float) -> None:
    killed, successor = succession.killed, succession.successor
    name = killed.node_id.key
    print(f"{name} led in term {killed.term} and was killed (SIGKILL) after {succession.done:,} transfers.")
    if successor is None:
        print(f"NOBODY leads, {succession.seconds:.2f} s later.")
        return
    print(f"{successor.node_id.key} leads in term {successor.term}, after {succession.seconds:.2f} s without a leader.")
    print(f"Accounts that lived on {name} came up on other nodes; no transfer took longer than {slowest:.1f} s.")


def _print_durability(report: Report) -> None:
    names = ", ".join(replica.node for replica in report.replicas)
    lost = {entry for replica in report.replicas for entry in replica.missing}
    if report.is_durable:
        print(f"Nothing acknowledged was lost: {report.acknowledged:,} bookings are in the books of {names}.")
    elif lost:
        print(f"{len(lost):,} of {report.acknowledged:,} acknowledged bookings are NOT in the books of all of {names}.")
    else:
        print(f"It is NOT known whether all of {report.acknowledged:,} acknowledged bookings are in the books.")


def _print_verdict(report: Report) -> None:
    counts = [
        (len(report.in_state(State.DONE)), "done"),
        (len(report.in_state(State.REJECTED)), "refused"),
        (len(report.in_state(State.REFUNDED)), "refunded"),
        (len(report.rejections), "bad"),
        (len(report.unsettled), "unsettled"),
        (report.not_started, "not started"),
    ]
    total = len(report.runs) + len(report.rejections)
    took = f" in {report.seconds:.1f} s, {len(report.started) / report.seconds:,.0f}/s" if report.seconds else ""
    print(f"{total:,} rows{took}: {', '.join(f'{count:,} {name}' for count, name in counts if count)}")
    if report.succession is not None:
        _print_succession(report.succession, report.slowest)
    _print_durability(report)
    found, expected = format_cents(report.found), format_cents(report.expected)
    if report.is_conserved:
        print(f"Money is conserved: {len(report.holdings)} accounts hold {found}, as at the start.")
    elif report.silent:
        silent = f"{len(report.silent)} of {len(report.holdings)} accounts have no balance"
        print(f"Money is NOT accounted for: {silent}, the rest hold {found} of {expected}.")
    else:
        print(f"Money is NOT conserved: the accounts hold {found}, at the start it was {expected}.")
