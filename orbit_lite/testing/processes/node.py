"""One node of a cluster of processes: `python -m orbit_lite.testing.processes.node --help`.

A RaftConsensus with a SqliteLogStore, its gRPC server and transport, and a key-value machine that clients reach by
`service.py`. It ends when its stdin does, so none outlives whoever started it, and on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from orbit_lite.model import NodeId
from orbit_lite.raft import RaftConfig, RaftConsensus, StateMachine
from orbit_lite.services import GrpcRaftTransport, start_raft_server
from orbit_lite.storage import SqliteLogStore
from orbit_lite.testing.processes.service import MachineService, StatusService
from orbit_lite.testing.simulation import KeyValueMachine

__all__ = ["LEADERSHIPS", "main", "run"]

#: In a node's folder: each term in which it led, a line each, over all its lives.
LEADERSHIPS = "leaderships"

#: Makes what is served beside Raft's own services and the node's status.
Services: TypeAlias = Callable[[RaftConsensus], Sequence[Any]]


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m orbit_lite.testing.processes.node", description=__doc__)
    add = found.add_argument
    add("--node", type=NodeId.parse, required=True, metavar="ID")
    add("--member", action="append", required=True, metavar="ID=HOST:PORT", help="each founder, this node as well")
    add("--folder", type=Path, required=True, help="where its log is")
    add("--config", type=json.loads, default={}, metavar="JSON", help="fields of RaftConfig")
    add("--join", action="store_true", help="it was not among the founders")
    return found


def members(texts: Sequence[str]) -> dict[NodeId, str]:
    """Addresses by node."""
    return {NodeId.parse(name): address for name, _, address in (text.partition("=") for text in texts)}


async def run(options: argparse.Namespace, machine: StateMachine, services: Services) -> None:
    """Serve until stdin ends."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    await loop.connect_read_pipe(lambda: _Stdin(ending), sys.stdin)

    me, addresses = options.node, members(options.member)
    with SqliteLogStore.open(options.folder) as store:
        consensus = RaftConsensus(
            me, list(addresses), RaftConfig(**options.config), store=store, state_machine=machine, join=options.join
        )

        def elected(leader: NodeId) -> None:
            if leader == me and consensus.is_leader():  # still: the call comes a little later
                note(options.folder, consensus.get_current_term())

        consensus.on_leader_elected(elected)
        transport = GrpcRaftTransport(me, addresses)
        async with await start_raft_server(
            consensus, addresses[me], services=[StatusService(consensus), *services(consensus)]
        ):
            try:
                await consensus.start(transport)
                await ending.wait()
            finally:
                await consensus.stop()
                await transport.close()


class _Stdin(asyncio.Protocol):
    def __init__(self, ending: asyncio.Event) -> None:
        self._ending = ending

    def connection_lost(self, _: Exception | None) -> None:
        self._ending.set()


def note(folder: Path, term: int) -> None:
    """Survives this process, not the machine."""
    descriptor = os.open(folder / LEADERSHIPS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, b"%d\n" % term)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = parser().parse_args(arguments)
    machine = KeyValueMachine()
    asyncio.run(run(options, machine, lambda consensus: [MachineService(consensus, machine)]))


if __name__ == "__main__":
    main()
