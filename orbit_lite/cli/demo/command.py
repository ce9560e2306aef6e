"""The verb `demo`: reads options and input, shows the report."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orbit_lite.cli.demo.money import parse_cents
from orbit_lite.cli.options import Duration, json_option, run
from orbit_lite.cli.output import print_json
from orbit_lite.cli.problems import FAILED, TERMINATED
from orbit_lite.errors import IoError, ParseError, quote

__all__ = ["demo"]

_MOST_NODES = 20
_FEWEST_TO_KILL = 3  # of which a majority is left when one is gone
_MOST_BYTES = 64 << 20  # the input is kept in memory

if TYPE_CHECKING:
    from orbit_lite.cli.demo.report import Report

    _AmountType = click.ParamType[int]
else:
    _AmountType = click.ParamType


class _Amount(_AmountType):
    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_cents(str(value))
        except ParseError as error:
            self.fail(error.message, param, ctx)


@click.command(short_help="Run a cluster, and transfers through its actors.")
@click.option(
    "-i", "--input", "source", metavar="FILE", help="CSV of from, to, amount, note; - is stdin; else a sample."
)
@click.option("--nodes", type=click.IntRange(1, _MOST_NODES), default=3, show_default=True, help="Node processes.")
@click.option("--opening", type=_Amount(), default="1000.00", show_default=True, help="In each account at the start.")
@click.option("--limit", type=_Amount(), default="5000.00", show_default=True, help="No credit lifts an account above.")
@click.option("--in-flight", type=click.IntRange(1, 1000), default=32, show_default=True, help="Transfers under way.")
@click.option("--timeout", type=Duration(), default="10s", show_default=True, help="For each actor call.")
@click.option(
    "--kill/--no-kill", default=None, help="Kill the leader while transfers run.  [default: with 3 nodes or more]"
)
@click.option("--log-level", default="error", show_default=True, help="Of the nodes.")
@click.option("--all", "everything", is_flag=True, help="Print all balances and all rejected rows.")
@json_option
def demo(
    *,
    source: str | None,
    nodes: int,
    opening: int,
    limit: int,
    in_flight: int,
    timeout: float,
    kill: bool | None,
    log_level: str,
    everything: bool,
    as_json: bool,
) -> int:
    """Send a file of transfers through bank accounts on a cluster.

    Starts node processes on this machine, which elect a leader and replicate the bank's books, spreads the accounts
    over them, and sends every transfer of the file through them: a debit, then a credit, each entering the cluster at
    the next node in turn. While they run the leader is killed. The result is that of the file read from top to bottom.
    Prints balances, rejected rows, what each node did, who leads, and whether anything was lost.

    Exit status: 0 if money was conserved, nothing acknowledged was lost and every transfer is settled, else 1.
    """
    if kill and nodes < _FEWEST_TO_KILL:
        raise click.UsageError(f"--kill needs --nodes {_FEWEST_TO_KILL} or more: else no majority is left")

    from orbit_lite.cli.demo.play import Settings, play
    from orbit_lite.cli.demo.progress import Progress
    from orbit_lite.cli.demo.report import document, print_report
    from orbit_lite.cli.demo.rows import read_sheet

    name, data = _read(source)
    sheet = read_sheet(data)
    settings = Settings(
        nodes=nodes,
        opening=opening,
        limit=limit,
        width=in_flight,
        timeout=timeout,
        log_level=log_level,
        kill=nodes >= _FEWEST_TO_KILL if kill is None else kill,
    )
    try:
        report = run(_until_terminated(play(name, sheet, settings, Progress(quiet=as_json))))
    except asyncio.CancelledError:
        return TERMINATED
    if as_json:
        print_json(document(report))
    else:
        print_report(report, everything=everything)
    return 0 if report.is_success else FAILED


async def _until_terminated(work: Coroutine[Any, Any, Report]) -> Report:
    """Let SIGTERM cancel the work, so that it stops its nodes first."""
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError):  # Windows has no such handlers; there the nodes notice that we are gone
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _read(source: str | None) -> tuple[str, bytes]:
    """(what to call the input, its bytes). Raises IoError."""
    if source is None:
        from orbit_lite.cli.demo.sample import read_sample

        return "sample", read_sample()
    name = "stdin" if source == "-" else source
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise IoError(f"cannot read {quote(name)!r}: {reason}") from error
    if len(data) > _MOST_BYTES:
        raise IoError(f"{quote(name)!r} is larger than the {_MOST_BYTES >> 20} MiB that the demo takes")
    return name, data
