"""Client sessions: a proposal that is made again, because its answer was lost, is applied once (Raft §8; thesis 6.3).

A client names itself and numbers its proposals. The table is part of the replicated state: every node fills it from the
same log in the same order, and every snapshot holds it. A session is forgotten when there are too many and it is the
one idle for longest, counted in the log and not by clocks; a client that comes back after that is new.

Of each session the results of the WINDOW largest numbers are kept, so that many proposals of one client may be under
way. Of a smaller one nobody knows whether it came before, so it is not applied: a client should have no more under way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from orbit_lite.errors import ParseError, quote
from orbit_lite.raft.errors import SessionForgotten

__all__ = ["WINDOW", "Sessions"]

#: Results kept for each session.
WINDOW = 128

_HEAD = struct.Struct(">I")
_SESSION = struct.Struct(">IQH")  # length of the name, the floor, number of results
_RESULT = struct.Struct(">QI")


class _Session:
    """floor: the largest number whose result is forgotten; 0 = none."""

    __slots__ = ("floor", "results")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self.results: dict[int, bytes] = {}


class Sessions:
    """What was applied for whom. limit: sessions that are remembered."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sessions: dict[str, _Session] = {}  # the one used least recently is the first

    def __len__(self) -> int:
        return len(self._sessions)

    def apply(self, client: str, seq: int, run: Callable[[], bytes]) -> bytes:
        """The result of the client's proposal `seq`: of `run`, or of the first time. seq: at least 1.

        Raises SessionForgotten when it is behind the window; then it is not applied.
        """
        session = self._sessions.pop(client, None)
        if session is None:
            session = _Session()
            if len(self._sessions) >= self._limit:
                del self._sessions[next(iter(self._sessions))]
        self._sessions[client] = session
        known = session.results.get(seq)
        if known is not None:
            return known
        if seq <= session.floor:
            raise SessionForgotten(
                f"proposal {seq} of {quote(client)!r} comes behind {session.floor}, of which the result is forgotten"
            )
        result = run()
        session.results[seq] = result
        if len(session.results) > WINDOW:
            session.floor = min(session.results)
            del session.results[session.floor]
        return result

    def dump(self) -> bytes:
        """The table; equal tables give equal bytes."""
        parts = [_HEAD.pack(len(self._sessions))]
        for client, session in self._sessions.items():
            name = client.encode()
            parts += [_SESSION.pack(len(name), session.floor, len(session.results)), name]
            for seq in sorted(session.results):
                result = session.results[seq]
                parts += [_RESULT.pack(seq, len(result)), result]
        return b"".join(parts)

    def load(self, data: bytes) -> None:
        """Replace the table by what `dump` gave. Raises ParseError."""
        sessions: dict[str, _Session] = {}
        try:
            (count,) = _HEAD.unpack_from(data)
            at = _HEAD.size
            for _ in range(count):
                length, floor, results = _SESSION.unpack_from(data, at)
                at += _SESSION.size
                session = sessions[data[at : at + length].decode()] = _Session(floor)
                at += length
                for _ in range(results):
                    seq, size = _RESULT.unpack_from(data, at)
                    at += _RESULT.size
                    session.results[seq] = data[at : at + size]
                    at += size
        except (struct.error, UnicodeDecodeError) as error:
            raise ParseError(f"table of sessions: {error}") from error
        if at != len(data) or len(sessions) != count:
            raise ParseError(f"table of sessions: {len(data)} bytes, {at} expected")
        self._sessions = sessions
