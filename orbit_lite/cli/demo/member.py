"""The hidden verb `demo-node`: one node of the demo, as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orbit_lite.cli.options import Duration, json_option
from orbit_lite.cli.serve import serve_node
from orbit_lite.cli.settings import node_options

if TYPE_CHECKING:
    from orbit_lite.node import NodeConfig, OrbitNode

__all__ = ["member"]


@click.command("demo-node", hidden=True, short_help="Run a node of the demo.")
@node_options
@click.option("--die-with-parent", is_flag=True, help="Stop when stdin closes, as it does when the parent ends.")
@click.option("--timeout", type=Duration(), default="8s", help="For a command to be decided by the cluster.")
@json_option
def member(*, die_with_parent: bool, timeout: float, as_json: bool, **options: Any) -> None:
    """Run a node of the demo: as `serve`, with the bank's books and actors."""

    def make(config: NodeConfig) -> OrbitNode:
        from orbit_lite.cli.demo.bank import account_of, clerk_of
        from orbit_lite.cli.demo.books import Books
        from orbit_lite.cli.demo.keeper import Keeper
        from orbit_lite.node.node import OrbitNode

        books = Books()
        node = OrbitNode(config, state_machine=books)
        keeper = Keeper(node.consensus, books, timeout=timeout)
        node.register(account_of(keeper))
        node.register(clerk_of(keeper, node.node_id))
        return node

    serve_node(make, options, die_with_parent=die_with_parent, as_json=as_json)
