"""Which of a server's connections have to go: those idle or old for too long, and one when there are too many.

Pure but for the connections that it is given and calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from orbit_lite.rpc.config import ServerConfig

__all__ = ["Upkeep"]

#: Part by which a connection's greatest age is varied, so that all clients of a restart do not come back at once.
AGE_JITTER = 0.1
#: Looks in the shortest of the limits; a limit is kept to a tenth of itself.
_LOOKS = 10


class Kept(Protocol):
    """What upkeep knows of a connection. Times are those of the event loop."""

    made_at: float
    idle_since: float
    is_retiring: bool

    @property
    def is_idle(self) -> bool: ...
    def retire(self) -> None: ...
    def close(self, reason: str) -> None: ...


class Upkeep:
    """The rules of one server."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config

    @property
    def interval(self) -> float | None:
        """Seconds between two looks; None: no limit is set."""
        limits = [self._config.max_connection_idle, self._config.max_connection_age]
        shortest = min((limit for limit in limits if limit is not None), default=None)
        return None if shortest is None else max(shortest / _LOOKS, 0.01)

    def look(self, connections: Iterable[Kept], now: float) -> None:
        """Retire what is idle or old for too long, and close what had its grace."""
        config = self._config
        for connection in list(connections):
            age = now - connection.made_at
            limit = self._age_limit(connection)
            if limit is not None and age >= limit:
                grace = config.max_connection_age_grace
                if grace is not None and connection.is_retiring and age >= limit + grace:
                    connection.close("the grace of its greatest age is over")
                else:
                    connection.retire()
            elif (
                config.max_connection_idle is not None
                and connection.is_idle
                and now - connection.idle_since >= config.max_connection_idle
            ):
                connection.retire()

    def _age_limit(self, connection: Kept) -> float | None:
        limit = self._config.max_connection_age
        if limit is None:
            return None
        # A number of its own for each connection that stays the same, without anything to remember.
        part = (hash(connection.made_at) % 1000) / 1000
        return limit * (1 + AGE_JITTER * (2 * part - 1))

    def make_room(self, connections: Iterable[Kept], new: Kept, count: int) -> None:
        """A connection came, with which there are `count`: if that is too many, one goes."""
        if count <= self._config.max_connections:
            return
        idle = [connection for connection in connections if connection.is_idle and connection is not new]
        oldest = min(idle, key=lambda connection: connection.idle_since, default=new)
        oldest.close("too many connections")
