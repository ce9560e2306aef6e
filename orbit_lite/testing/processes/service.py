"""What a client can ask a node of a cluster of processes: three unary methods whose messages are BytesValue."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from betterproto.lib.google.protobuf import BytesValue
from grpclib.const import Cardinality, Handler

from orbit_lite.raft import RaftConsensus
from orbit_lite.rpc import InvalidArgument, ServerCall
from orbit_lite.testing.simulation import KeyValueMachine

__all__ = ["CLIENT", "DIGEST", "PROPOSE", "READ", "SEQ", "STATUS", "MachineService", "StatusService"]

PROPOSE, READ, DIGEST, STATUS = (f"/orbit.testing.Machine/{name}" for name in ("Propose", "Read", "Digest", "Status"))
Call: TypeAlias = ServerCall[BytesValue, BytesValue]

#: Metadata of Propose: the session and the number in it, under which a command is applied once.
CLIENT, SEQ = "client", "seq"


class StatusService:
    """Status: JSON, without asking anybody."""

    def __init__(self, consensus: RaftConsensus) -> None:
        self._consensus = consensus

    def __mapping__(self) -> dict[str, Handler]:
        return {STATUS: handler(self._status)}

    async def _status(self, call: Call) -> None:
        async def answer(_: BytesValue) -> BytesValue:
            return BytesValue(json.dumps(status_of(self._consensus)).encode())

        await call.answer_with(answer)


class MachineService:
    """Propose: a command of the machine; its result, once it is committed and applied here. Read: a key; its value.

    Digest: of the machine's state, as it is here.
    """

    def __init__(self, consensus: RaftConsensus, machine: KeyValueMachine) -> None:
        self._consensus = consensus
        self._machine = machine

    def __mapping__(self) -> dict[str, Handler]:
        return {PROPOSE: handler(self._propose), READ: handler(self._read), DIGEST: handler(self._digest)}

    async def _propose(self, call: Call) -> None:
        client, seq = (call.metadata.get(name) for name in (CLIENT, SEQ))
        if not isinstance(client, str) or not isinstance(seq, str) or not seq.isdecimal():
            raise InvalidArgument(f"metadata: {CLIENT} and {SEQ} are needed")

        async def answer(request: BytesValue) -> BytesValue:
            return BytesValue(await self._consensus.propose(request.value, client=client, seq=int(seq), timeout=None))

        await call.answer_with(answer)

    async def _read(self, call: Call) -> None:
        async def answer(request: BytesValue) -> BytesValue:
            await self._consensus.read(timeout=None)
            return BytesValue(self._machine.values.get(request.value.decode(), "").encode())

        await call.answer_with(answer)

    async def _digest(self, call: Call) -> None:
        async def answer(_: BytesValue) -> BytesValue:
            return BytesValue(hashlib.blake2b(self._machine.snapshot(), digest_size=16).digest())

        await call.answer_with(answer)


def handler(method: Callable[[Call], Awaitable[None]]) -> Handler:
    return Handler(method, Cardinality.UNARY_UNARY, BytesValue, BytesValue)


def status_of(consensus: RaftConsensus) -> dict[str, Any]:
    """Of a node that was started."""
    status = consensus.status()
    return {
        "pid": os.getpid(),
        "role": status.role.value,
        "is_leader": consensus.is_leader(),
        "leader": None if (leader := consensus.get_leader()) is None else str(leader),
        "term": status.term,
        "commit": status.commit,
        "applied": consensus.applied_index,
        "first_index": status.first_index,
        "last_index": status.last_index,
        "snapshots_restored": consensus.metrics.snapshots_restored,
        "writes": consensus.writes,
        "write_seconds": consensus.write_seconds,
        "entries_written": consensus.entries_written,
        "failure": None if consensus.failure is None else str(consensus.failure),
        "fault": status.fault,
    }
