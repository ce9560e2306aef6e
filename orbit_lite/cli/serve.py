"""The verb `serve`: a process that is one node."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from orbit_lite.cli.options import json_option, run
from orbit_lite.cli.output import print_json
from orbit_lite.cli.settings import load, node_options

if TYPE_CHECKING:
    from orbit_lite.node import NodeConfig
    from orbit_lite.node.node import OrbitNode

__all__ = ["serve", "serve_node"]

_ORPHAN_GRACE = 5.0  # seconds that a node has to stop when its parent is gone


@click.command()
@node_options
@click.option("--die-with-parent", is_flag=True, help="Stop when stdin closes, as it does when the parent ends.")
@json_option
def serve(*, die_with_parent: bool, as_json: bool, **options: Any) -> None:
    """Run a node until it is told to stop.

    Once it serves it prints a line on stdout, with --json one JSON object with node_id, url, port and pid. SIGTERM or
    ctrl-C drains and stops the node, a second one stops it at once; SIGHUP reads log level and seed nodes anew.
    """
    from orbit_lite.node.node import OrbitNode

    serve_node(OrbitNode, options, die_with_parent=die_with_parent, as_json=as_json)


def serve_node(
    make: Callable[[NodeConfig], OrbitNode], options: Mapping[str, Any], *, die_with_parent: bool, as_json: bool
) -> None:
    """Run the node that `make` makes of the configuration; options: what `node_options` gave."""
    from orbit_lite.telemetry.logs import configure_logging

    def reload() -> NodeConfig:
        return load(options).config

    config = reload()
    configure_logging(config.log_level, config.log_format)
    if die_with_parent:
        threading.Thread(target=_end_with_stdin, name="parent watch", daemon=True).start()
    node = make(config)
    run(node.serve_forever(reload, on_ready=lambda: _tell_ready(node, as_json=as_json)))


def _tell_ready(node: OrbitNode, *, as_json: bool) -> None:
    if as_json:
        ready = {
            "event": "ready",
            "node_id": str(node.node_id),
            "url": node.url,
            "port": node.port,
            "pid": os.getpid(),
        }
        print_json(ready, indent=None)
    else:
        print(f"node {node.node_id} serves at {node.url}", flush=True)


def _end_with_stdin() -> None:
    """Wait for the end of stdin, then stop the node as a signal would, and by force if that takes too long."""
    try:
        while os.read(0, 1024):  # not sys.stdin: its lock would be held when the interpreter ends
            pass
    except OSError:
        pass  # no stdin is the end of it, too
    signal.raise_signal(signal.SIGTERM)
    time.sleep(_ORPHAN_GRACE)
    os._exit(1)
