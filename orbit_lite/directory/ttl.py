"""A bounded memory of answers that grow old."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["TtlCache"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class TtlCache(Generic[_K, _V]):
    """At most `max_entries` values, each until a time of its own; beyond that the one not used for longest goes first.

    Times are seconds of any one clock.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[_K, tuple[_V, float]] = OrderedDict()

    def get(self, key: _K, *, now: float) -> _V | None:
        """The value, if it is there and has not expired: at its time it has."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if now >= expires:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: _K, value: _V, *, expires: float) -> None:
        """Remember a value until `expires`."""
        self._entries[key] = value, expires
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def drop(self, key: _K) -> None:
        """Forget one value, if it is there."""
        self._entries.pop(key, None)

    def drop_where(self, condition: Callable[[_V], bool]) -> None:
        """Forget every value for which the condition holds."""
        for key in [key for key, (value, _) in self._entries.items() if condition(value)]:
            del self._entries[key]

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
