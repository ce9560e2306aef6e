"""What the demo's report says, and when it calls the run a success."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from orbit_lite.cli.demo.audit import Replica
from orbit_lite.cli.demo.leadership import Leader, Succession
from orbit_lite.cli.demo.report import NodeFigures, Report, document, print_report
from orbit_lite.cli.demo.rows import Rejection, Transfer
from orbit_lite.cli.demo.teller import Holding
from orbit_lite.cli.demo.transfers import Signal, TransferRun
from orbit_lite.model import NodeId


def transfer_run(line: int, *signals: Signal, reason: str = "") -> TransferRun:
    run = TransferRun(Transfer(line, "Ada", "Žofie", 1250, "🦊"), f"t{line}")
    for signal in signals:
        run.hear(signal, reason)
    return run


DONE = transfer_run(2, Signal.ACCEPTED, Signal.ACCEPTED)
REJECTED = transfer_run(3, Signal.REFUSED, reason="insufficient funds")
REFUNDED = transfer_run(7, Signal.ACCEPTED, Signal.REFUSED, Signal.ACCEPTED, reason="over the limit")
UNSETTLED = transfer_run(8, Signal.ACCEPTED, Signal.SILENCE, reason="the stream ended")
WAITING = transfer_run(9)

GOOD = Report(
    "sample",
    [Rejection(4, 6, "a quote is opened", 'x,"')],
    [DONE, REJECTED, REFUNDED],
    [DONE, REJECTED, REFUNDED],
    100_000,
    {"Ada": Holding(98_750), "Žofie": Holding(101_250)},
    [NodeFigures("node-1", "http://127.0.0.1:1", 2, 12, 8, 5, 1, 0.001, 0.002, 0.003, 0.004)],
    2.0,
    acknowledged=4,
    replicas=[Replica("node-1", 9, 200_000, "ab"), Replica("node-3", 9, 200_000, "ab")],
    succession=Succession(Leader(NodeId("node-2"), 1), done=3, successor=Leader(NodeId("node-3"), 2), seconds=1.234),
    slowest=7.5,
)


def test_a_run_that_kept_the_money_and_ended_everything_is_a_success() -> None:
    assert GOOD.is_conserved
    assert GOOD.is_success


@pytest.mark.parametrize(
    ("report", "is_conserved"),
    [
        (replace(GOOD, holdings={"Ada": Holding(98_750), "Žofie": Holding(101_251)}), False),
        (replace(GOOD, holdings={"Ada": Holding(200_000), "Žofie": Holding(None, "lost")}), False),
        (replace(GOOD, runs=[UNSETTLED], started=[UNSETTLED]), True),
        (replace(GOOD, runs=[DONE, WAITING], started=[DONE]), True),
        (replace(GOOD, losses=["node-2 was ended by SIGKILL: it wrote nothing"]), True),
        (replace(GOOD, replicas=[]), True),
        (replace(GOOD, replicas=[Replica("node-1", 9, 200_000, "ab", missing=("t2/debit",))]), True),
        (replace(GOOD, replicas=[Replica("node-1", problem="no answer")]), True),
        (replace(GOOD, replicas=[Replica("node-1", 9, 200_001, "ab")]), True),
        (replace(GOOD, replicas=[Replica("node-1", 9, 200_000, "ab"), Replica("node-3", 9, 200_000, "ac")]), True),
        (replace(GOOD, succession=Succession(Leader(NodeId("node-2"), 1), 3, None, 30.0)), True),
    ],
    ids=[
        *("a cent too much", "an account lost", "unsettled", "not started", "a node lost", "no books"),
        *("a booking lost", "books not seen", "books with a cent too much", "books that differ", "nobody leads"),
    ],
)
def test_anything_amiss_is_no_success(report: Report, is_conserved: bool) -> None:
    assert report.is_conserved is is_conserved
    assert not report.is_success


def test_the_document_counts_every_row_once_and_is_json() -> None:
    report = replace(
        GOOD, runs=[DONE, REJECTED, REFUNDED, UNSETTLED, WAITING], started=[DONE, REJECTED, REFUNDED, UNSETTLED]
    )
    told = json.loads(json.dumps(document(report)))
    rows = told["rows"]
    assert rows.pop("total") == sum(rows.values()) == 6
    assert told["unsettled"] == [
        {
            "line": 8,
            "state": "debited, credit unknown",
            "reason": "the stream ended",
            "row": "Ada → Žofie 12.50",
        }
    ]
    assert told["money"] == {"opening": 100_000, "expected": 200_000, "found": 200_000}
    assert told["balances"] == {"Ada": 98_750, "Žofie": 101_250}


def test_people_read_the_verdict_last(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(GOOD)
    text = capsys.readouterr().out
    assert text.endswith(
        "4 rows in 2.0 s, 2/s: 1 done, 1 refused, 1 refunded, 1 bad\n"
        "node-2 led in term 1 and was killed (SIGKILL) after 3 transfers.\n"
        "node-3 leads in term 2, after 1.23 s without a leader.\n"
        "Accounts that lived on node-2 came up on other nodes; no transfer took longer than 7.5 s.\n"
        "Nothing acknowledged was lost: 4 bookings are in the books of node-1, node-3.\n"
        "Money is conserved: 2 accounts hold 2,000.00, as at the start.\n"
    )
    assert re.search("\n *4-6 +a quote is opened +x", text)
    assert re.search("\n *3 +insufficient funds +Ada → Žofie 12.50\n", text)
    assert re.search("\n *7 +over the limit; refunded +Ada → Žofie 12.50\n", text)


def test_a_loss_is_told_with_the_lost_accounts(capsys: pytest.CaptureFixture[str]) -> None:
    lost = replace(
        GOOD,
        holdings={"Ada": Holding(98_750), "Žofie": Holding(None, "the account was lost")},
        nodes=[NodeFigures("node-2", "http://127.0.0.1:2", problem="was ended by SIGKILL")],
        losses=["node-2 was ended by SIGKILL: it wrote nothing"],
    )
    print_report(lost)
    text = capsys.readouterr().out
    assert "Žofie    the account was lost" in text
    assert re.search("node-2 +[?].*was ended by SIGKILL\n", text)
    assert text.endswith(
        "Money is NOT accounted for: 1 of 2 accounts have no balance, the rest hold 987.50 of 2,000.00.\n"
    )


def test_what_is_missing_in_the_books_and_who_does_not_lead_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    missing = Replica("node-3", 9, 200_000, "ac", missing=("t2/debit",))
    bad = replace(
        GOOD,
        replicas=[GOOD.replicas[0], missing],
        succession=Succession(Leader(NodeId("node-2"), 1), 3, None, 30.0),
    )
    print_report(bad)
    text = capsys.readouterr().out
    assert "NOBODY leads, 30.00 s later.\n" in text
    assert "1 of 4 acknowledged bookings are NOT in the books of all of node-1, node-3.\n" in text
    print_report(replace(GOOD, replicas=[Replica("node-1", problem="no answer")]))
    assert "It is NOT known whether all of 4 acknowledged bookings are in the books.\n" in capsys.readouterr().out


def test_the_document_tells_who_led_and_what_the_books_hold() -> None:
    told = json.loads(json.dumps(document(GOOD)))
    assert told["succession"] == {
        "killed": "node-2",
        "term": 1,
        "transfers_done": 3,
        "successor": "node-3",
        "successor_term": 2,
        "seconds_without_leader": 1.234,
    }
    assert told["durable"]
    assert told["acknowledged"] == 4
    assert told["replicas"][0] == {
        "node": "node-1",
        "applied": 9,
        "total": 200_000,
        "digest": "ab",
        "missing": [],
        "problem": "",
    }


def test_long_lists_are_cut_unless_all_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    many = replace(
        GOOD,
        rejections=[Rejection(line, line, "bad", "x") for line in range(2, 102)],
        holdings={f"account {number}": Holding(number) for number in range(50)},
    )
    print_report(many)
    short = capsys.readouterr().out
    assert "… 40 more, --all prints them" in short
    assert "… 85 more, --all prints them" in short
    print_report(many, everything=True)
    assert "--all" not in capsys.readouterr().out
