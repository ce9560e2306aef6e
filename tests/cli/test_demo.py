"""The demo as users run it: node processes, a file of transfers, a report, and nothing left behind."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbit_lite.cli.demo.ledger import Booking, Entry, Ledger
from orbit_lite.cli.demo.rows import read_sheet

Orbit = Callable[..., Any]
Start = Callable[..., Any]

posix = pytest.mark.skipif(sys.platform == "win32", reason="reads /proc or sends signals")
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the nodes through /proc")

OPENING, LIMIT = 10_000, 15_000
OPTIONS = ("--opening", "100.00", "--limit", "150.00", "--nodes", "2")


def table(rows: int) -> bytes:
    """A file with transfers of all outcomes, and some rows that are none."""
    dice = random.Random(7)
    names = ["Ada", "Žofie", "王芳", "دوست", "🦊", 'O"Neill']
    lines = ["from,to,amount,note"]
    for _ in range(rows):
        sender, receiver = dice.sample(names, 2)
        quoted = [name.replace('"', '""') for name in (sender, receiver)]
        lines.append(f'"{quoted[0]}","{quoted[1]}",{dice.randrange(1, 6000) / 100:.2f},"a\nnote 🏳️‍🌈"')
    return "\n".join([*lines, "a,a,1,", "a,b,x,"]).encode() + b"\na,\xff,1,\n"


def expected(data: bytes) -> dict[str, int | None]:
    """The balances after the file has been read from top to bottom."""
    sheet = read_sheet(data)
    ledgers = {name: Ledger() for name in sheet.accounts}
    for ledger in ledgers.values():
        ledger.open(OPENING, LIMIT)
    for row in sheet.transfers:
        sender, receiver, entry = ledgers[row.sender], ledgers[row.receiver], str(row.line)
        if sender.book(Entry.DEBIT, entry, row.amount).booking is not Booking.ACCEPTED:
            continue
        if receiver.book(Entry.CREDIT, entry, row.amount).booking is not Booking.ACCEPTED:
            sender.book(Entry.REFUND, entry + "r", row.amount)
    return {name: ledger.balance for name, ledger in ledgers.items()}


def nodes_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the demo's nodes."""
    children: list[int] = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        children += map(int, (task / "children").read_text().split())
    return children


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---------------------------------------------------------------- a whole run


def test_the_result_is_that_of_the_file_read_from_top_to_bottom(orbit: Orbit, tmp_path: Path) -> None:
    data = table(60)
    (tmp_path / "transfers.csv").write_bytes(data)
    told = orbit("demo", "--input", tmp_path / "transfers.csv", *OPTIONS, "--json")
    report = told.document
    assert (told.status, told.err) == (0, "")
    assert report["conserved"]
    assert report["balances"] == expected(data)
    rows = report["rows"]
    assert rows.pop("total") == sum(rows.values()) == 63
    assert rows["bad"] == len(report["bad_rows"]) == 3
    assert rows["refused"] > 0
    assert rows["refunded"] > 0
    assert len(report["nodes"]) == 2
    assert sum(node["actors"] for node in report["nodes"]) == len(report["balances"])
    assert all(node["forwarded"] > 0 and node["errors"] == 0 for node in report["nodes"])
    assert report["succession"] is None
    assert sum(node["served"] for node in report["nodes"]) == sum(
        node["calls"] + node["forwarded"] for node in report["nodes"]
    )


def test_a_killed_leader_takes_nothing_along(orbit: Orbit, tmp_path: Path) -> None:
    data = table(60)
    (tmp_path / "transfers.csv").write_bytes(data)
    told = orbit("demo", "--input", tmp_path / "transfers.csv", *OPTIONS, "--nodes", "3", "--json")
    report = told.document
    assert (told.status, told.err) == (0, "")
    assert report["balances"] == expected(data)
    assert report["conserved"]
    assert report["durable"]
    succession = report["succession"]
    assert succession["successor_term"] > succession["term"]
    assert succession["seconds_without_leader"] > 0
    assert 20 <= succession["transfers_done"] < 60
    survivors = {"node-1", "node-2", "node-3"} - {succession["killed"]}
    assert succession["successor"] in survivors
    assert {replica["node"] for replica in report["replicas"]} == survivors
    assert all(not replica["missing"] for replica in report["replicas"])
    assert len({replica["digest"] for replica in report["replicas"]}) == 1
    assert report["acknowledged"] == 2 * (report["rows"]["done"] + report["rows"]["refunded"])
    assert [node["problem"] for node in report["nodes"] if node["node"] not in survivors] == ["was ended by SIGKILL"]
    assert not report["losses"]


def test_a_leader_is_not_killed_where_no_majority_would_be_left(orbit: Orbit) -> None:
    told = orbit("demo", "--nodes", "2", "--kill")
    assert told.status == 2
    assert "--kill needs --nodes 3 or more" in told.err


def test_people_get_a_report_and_the_progress_apart_from_it(start: Start) -> None:
    process = start("demo", "--input", "-", "--nodes", "1", "--opening", "5.00")
    out, err = process.communicate("from,to,amount\nAda,🦊,1.50\n🦊,Ada,9\nAda,Ada,1\n", timeout=50)
    assert process.returncode == 0, err
    assert "node-1 serves at http://127.0.0.1:" in err
    assert re.search(r"^node-1 was elected leader in term [0-9]+, after [0-9.]+ s$", err, re.MULTILINE)
    assert "transfers: 2 of 2" in err
    assert re.search(r"^🦊 +6\.50$", out, re.MULTILINE)
    assert re.search(r"^ +3 +insufficient funds: 6\.50 in the account +🦊 → Ada 9\.00$", out, re.MULTILINE)
    assert re.search(r"^ +4 +from and to are the same account, 'Ada' +Ada,Ada,1$", out, re.MULTILINE)
    assert out.endswith("Money is conserved: 2 accounts hold 10.00, as at the start.\n")


# ---------------------------------------------------------------- input that cannot be read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "the input is empty"),
        (b"a,b,c\n1,2,3\n", "lacks the column 'from'"),
        (b"\xff\xfef\x00", "UTF-16"),
    ],
)
def test_input_without_a_header_starts_nothing(
    orbit: Orbit, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "transfers.csv"
    if content is not None:
        file.write_bytes(content)
    told = orbit("demo", "--input", file)
    assert (told.status, told.out) == (1, "")
    assert message in told.err.splitlines()[0]
    assert "serves" not in told.err


# ---------------------------------------------------------------- runs that are broken off


@pytest.fixture
def long_run(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[int]]:
    """A demo in the midst of its transfers, and the process ids of its nodes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    file = tmp_path / "transfers.csv"
    file.write_bytes(b"from,to,amount\n" + b"".join(b"a%d,a%d,0.01\n" % (n % 40, (n + 1) % 40) for n in range(50_000)))
    process = start("demo", "--input", file, "--nodes", "2", "--timeout", "2s")
    for line in process.stderr:
        if line.startswith("transfers: "):
            break
    return process, nodes_of(process)


@posix
@linux
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_node_and_no_folder_behind(
    long_run: tuple[Any, list[int]], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process, nodes = long_run
    assert len(nodes) == 2
    assert [*tmp_path.glob("orbit-demo-*/node-[12]/raft")]
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert not any(map(is_alive, nodes))
    assert not [*tmp_path.glob("orbit-demo-*")]
    assert "Traceback" not in err


@posix
@linux
def test_the_nodes_of_a_demo_that_was_killed_end_by_themselves(long_run: tuple[Any, list[int]]) -> None:
    process, nodes = long_run
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, nodes)):
        assert time.monotonic() < deadline, "nodes outlive their parent"
        time.sleep(0.05)


@posix
@linux
def test_a_cluster_without_a_majority_makes_an_honest_report(long_run: tuple[Any, list[int]]) -> None:
    process, nodes = long_run
    os.kill(nodes[-1], signal.SIGKILL)
    out, _ = process.communicate(timeout=50)
    assert process.returncode == 1
    assert re.search(r"^node-[12] was ended by SIGKILL", out, re.MULTILINE)
    assert "not started" in out
    assert "Money is NOT accounted for" in out
    assert not any(map(is_alive, nodes))


def test_every_number_of_the_report_is_json(orbit: Orbit, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("from,to,amount\n")
    report = json.loads(orbit("demo", "--input", tmp_path / "none.csv", "--nodes", "1", "--json").out)
    assert report["success"]
    assert report["rows"]["total"] == 0
