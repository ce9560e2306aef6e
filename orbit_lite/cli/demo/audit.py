"""Looks into the books of each node: is everything there that was acknowledged?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orbit_lite.cli.demo.bank import clerk_type
from orbit_lite.cli.demo.cluster import NodeProcess
from orbit_lite.errors import OrbitError
from orbit_lite.model import Json
from orbit_lite.node.client import OrbitClient

__all__ = ["Replica", "audit"]

#: Entries asked for at a time.
_PIECE = 2_000


@dataclass(frozen=True, slots=True)
class Replica:
    """The books as one node holds them.

    applied: the last log entry in them. total: cents in all accounts. digest: the same for the same books. missing:
    acknowledged entries that are not booked. problem: why some of this is not known.
    """

    node: str
    applied: int = 0
    total: int = 0
    digest: str = ""
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Everything was looked at, and nothing is missing."""
        return not (self.missing or self.problem)


async def audit(node: NodeProcess, acknowledged: Sequence[tuple[str, str]], *, timeout: float) -> Replica:
    """Ask the node's clerk for each (account, entry id). timeout: seconds for one question."""
    missing: list[str] = []
    async with OrbitClient(node.url, request_timeout=timeout) as client:
        clerk = client.actor(clerk_type(node.node_id))
        try:
            for start in range(0, len(acknowledged), _PIECE):
                piece = [list(entry) for entry in acknowledged[start : start + _PIECE]]
                missing += await clerk.invoke("missing", piece)  # type: ignore[arg-type]  # a list of ids
            answer = await clerk.invoke("summary")
        except OrbitError as error:
            return Replica(node.node_id.key, missing=tuple(missing), problem=str(error))
    return Replica(node.node_id.key, **_summary(answer), missing=tuple(missing))


def _summary(answer: Json) -> dict[str, Any]:
    if not isinstance(answer, dict):
        return {"problem": "the clerk's answer makes no sense"}
    return {name: answer[name] for name in ("applied", "total", "digest")}
