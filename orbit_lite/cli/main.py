"""The program: its verbs, and what becomes of their failures.

Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted. `health` has grpc_health_probe's instead. An expected
failure is one line on stderr (`error: … (ORB-1101)`; each mistake that protoc finds has its own), a line that says what
to do where there is something to do, and never a traceback; with `--json` it is one JSON document on stderr. A
traceback is a defect of this program.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

from orbit_lite.cli import about, call, cluster, config, generate, health, invoke, raft, serve, sim
from orbit_lite.cli.demo import command as demo
from orbit_lite.cli.demo import member as demo_node
from orbit_lite.cli.problems import INTERRUPTED, USED_WRONGLY, Problem
from orbit_lite.errors import OrbitError

__all__ = ["cli", "main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Every verb has --help, and --json for machines.",
    invoke_without_command=True,
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Run and ask the nodes of an orbit-lite cluster."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        context.exit(USED_WRONGLY)


for _verb in (
    serve.serve,
    cluster.status,
    cluster.nodes,
    cluster.actors,
    cluster.drain,
    health.health,
    call.call,
    invoke.invoke,
    demo.demo,
    demo_node.member,
    generate.generate,
    raft.raft,
    sim.sim,
    config.config,
    about.completion,
    about.version,
):
    cli.add_command(_verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status. arguments: without the program's name; None = the process's own."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # who cannot show a character gets an escape, not a failure
            stream.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(args, prog_name="orbit-lite", standalone_mode=False)
    except click.ClickException as error:
        return Problem.of_usage(error).show(as_json=_wants_json(args))
    except OrbitError as error:
        return Problem.of(error).show(as_json=_wants_json(args))
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _wants_json(args: Sequence[str]) -> bool:
    """Whether --json is among the options: parsing may have failed before it was reached."""
    return "--json" in (args[: args.index("--")] if "--" in args else args)
