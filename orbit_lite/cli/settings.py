"""The options that set a node's configuration, shared by `serve` and `config`, and how they are put together.

Precedence: option, environment, file, default. A node of a cluster without files, as the demo starts, reads none
(`--no-config`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from orbit_lite.node import LoadedConfig

__all__ = ["load", "node_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-c", "--config", "config_file", type=click.Path(), metavar="FILE", help="TOML file to read."),
    click.option("--no-config", is_flag=True, help="Read no file, not even where one is looked for."),
    click.option("-b", "--bind", metavar="ADDRESS", help="Address to listen on."),
    click.option(
        "-p", "--grpc-port", "port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one."
    ),
    click.option("-n", "--node-id", metavar="[NS:]KEY", help="Who the node is; drawn at random if not said."),
    click.option("--advertise", metavar="HOST[:PORT]", help="Address that other nodes are told."),
    click.option("-s", "--seed-nodes", metavar="ID@URL,...", help="Nodes to join."),
    click.option("--cluster-id", metavar="ID", help="Nodes of another cluster are refused."),
    click.option(
        "--actors", "actor_modules", multiple=True, metavar="MODULE", help="Module with actors to host; again for more."
    ),
    click.option("--data-dir", metavar="DIR", help="Where durable state is kept."),
    click.option("-l", "--log-level", metavar="LEVEL", help="debug, info, warning, error or critical."),
    click.option("--log-format", type=click.Choice(["auto", "text", "json"]), help="auto: text on a terminal."),
    click.option("-d", "--dev-mode", is_flag=True, default=None, help="For work at one's desk: log level debug."),
)


def node_options(function: _Function) -> _Function:
    """Every option that sets something of a node."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def load(options: Mapping[str, Any]) -> LoadedConfig:
    """The configuration, with what `node_options` gave on top. Warns on stderr. Raises ConfigurationError."""
    from orbit_lite.node import load_config
    from orbit_lite.node.config import SEARCH_PATH

    said = dict(options)
    file, no_file = said.pop("config_file"), said.pop("no_config")
    if file is not None and no_file:
        raise click.UsageError("--config and --no-config contradict each other", click.get_current_context())
    environ = {name: value for name, value in os.environ.items() if not (no_file and name == "ORBIT_CONFIG")}
    said["actor_modules"] = said["actor_modules"] or None  # not given leaves those of the file
    loaded = load_config(file, environ=environ, overrides=said, search=() if no_file else SEARCH_PATH)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return loaded
