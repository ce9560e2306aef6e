"""Which transfers may run now.

Many transfers are under way at a time, and still the result is that of the file read from top to bottom: a transfer
waits until every earlier one that names either of its accounts has finished. Transfers without a common account
commute, so any order of those is as good.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable

from orbit_lite.cli.demo.rows import Transfer

__all__ = ["FileOrder"]


class FileOrder:
    """Hands out transfers; each must be given back with `finish`.

    It cannot stall: of the transfers not finished, the first in the file is first in the queues of both its accounts.
    """

    def __init__(self, transfers: Iterable[Transfer]) -> None:
        self._transfers = tuple(transfers)
        self._queues: defaultdict[str, deque[int]] = defaultdict(deque)
        self._ready: list[int] = []
        for index, transfer in enumerate(self._transfers):
            self._queues[transfer.sender].append(index)
            self._queues[transfer.receiver].append(index)
        for index in range(len(self._transfers)):
            self._offer(index)
        self.finished = 0

    def _offer(self, index: int) -> None:
        transfer = self._transfers[index]
        if self._queues[transfer.sender][0] == index == self._queues[transfer.receiver][0]:
            heapq.heappush(self._ready, index)

    def take(self) -> int | None:
        """The index of the first transfer that may start; None if all that are left wait for others."""
        return heapq.heappop(self._ready) if self._ready else None

    def finish(self, index: int) -> None:
        """The transfer is over, or is put aside: those behind it may go on."""
        transfer = self._transfers[index]
        self.finished += 1
        heads = set()
        for account in (transfer.sender, transfer.receiver):
            queue = self._queues[account]
            queue.popleft()
            if queue:
                heads.add(queue[0])
        for head in heads:
            self._offer(head)
