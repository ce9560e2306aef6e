"""Who waits for which entry of the log, and what became of the entries that were applied just now."""

from __future__ import annotations

import asyncio

from orbit_lite.errors import Executed, OrbitError
from orbit_lite.raft.errors import ProposalLost

__all__ = ["Proposals"]

#: Results kept for those who learn of their entry's place only after it was applied here.
_RECENT = 4096


class Proposals:
    """Futures by index. An entry of another term in that place means that the proposal was lost.

    So does any entry of a later term before that place, because terms never decrease along the log: nobody has to wait
    until the new leader's log has grown as long as the old one's was.
    """

    def __init__(self) -> None:
        self._term = 0  # of the last entry applied
        self._waiting: dict[int, list[tuple[int, asyncio.Future[bytes]]]] = {}
        self._recent: dict[int, tuple[int, bytes | OrbitError]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) if self._waiting else 0

    def wait(self, term: int, index: int, *, applied: int) -> asyncio.Future[bytes]:
        """The result of the entry at index, if it is of that term. applied: the last index that was."""
        result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if index > applied:
            self._waiting.setdefault(index, []).append((term, result))
        elif (known := self._recent.get(index)) is not None:
            _settle(result, term, index, *known)
        else:
            result.set_exception(ProposalLost(f"entry {index} was applied here before its place was known"))
        return result

    def applied(self, term: int, index: int, outcome: bytes | OrbitError) -> None:
        """The entry at index was applied. To be called for each, in order."""
        if term > self._term:
            self._term = term
            self._give_up_earlier_terms(index)
        recent = self._recent
        recent[index] = term, outcome
        if len(recent) > _RECENT:
            del recent[next(iter(recent))]
        if self._waiting and (waiting := self._waiting.pop(index, None)) is not None:
            for wanted, result in waiting:
                _settle(result, wanted, index, term, outcome)

    def _give_up_earlier_terms(self, index: int) -> None:
        """The entry at index is of a later term than all before."""
        for place in [place for place in self._waiting if place > index]:
            kept = []
            for wanted, result in self._waiting[place]:
                if wanted < self._term:
                    _settle(result, wanted, index, self._term, b"")
                else:
                    kept.append((wanted, result))
            if kept:
                self._waiting[place] = kept
            else:
                del self._waiting[place]

    def forget(self, index: int, result: asyncio.Future[bytes]) -> None:
        """Whoever waited for it has gone."""
        kept = [item for item in self._waiting.pop(index, ()) if item[1] is not result]
        if kept:
            self._waiting[index] = kept

    def skipped(self, index: int) -> None:
        """A snapshot took the place of all entries up to index: what they gave is not known here."""
        self._recent.clear()
        for skipped in [waiting for waiting in self._waiting if waiting <= index]:
            for _, result in self._waiting.pop(skipped):
                if not result.done():
                    result.set_exception(ProposalLost(f"entry {skipped} came here as part of a snapshot"))

    def fail_all(self, error: OrbitError) -> None:
        """Nothing will be applied any more."""
        waiting, self._waiting = self._waiting, {}
        for results in waiting.values():
            for _, result in results:
                if not result.done():
                    result.set_exception(error)


def _settle(result: asyncio.Future[bytes], wanted: int, index: int, term: int, outcome: bytes | OrbitError) -> None:
    if result.done():
        return  # whoever waited went away
    if wanted != term:
        # No entry of the wanted term can come later: terms never decrease along the log.
        result.set_exception(ProposalLost(f"entry {index} is of term {term}, not {wanted}", executed=Executed.NO))
    elif isinstance(outcome, OrbitError):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
