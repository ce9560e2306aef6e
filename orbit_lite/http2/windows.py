"""How large receive windows should be: as much as the path carries in one round trip (the bandwidth-delay product).

A PING goes out with the first DATA that comes; what has come when it is answered came in one round trip. If that filled
most of the window, the window was the limit, and it doubles. gRPC's other implementations measure the same way.
"""

from __future__ import annotations

__all__ = ["PROBE", "BandwidthProbe"]

#: The eight bytes by which a probe's answer is known.
PROBE = b"bdpprobe"


class BandwidthProbe:
    """One connection's measurement. window: bytes of its receive windows now; largest: what they may grow to."""

    __slots__ = ("_bytes", "_is_under_way", "_largest", "window")

    def __init__(self, window: int, largest: int) -> None:
        self.window = window
        self._largest = largest
        self._bytes = 0
        self._is_under_way = False

    def received(self, size: int) -> bool:
        """DATA came; True: send a PING with PROBE now."""
        if self.window >= self._largest:
            return False
        self._bytes += size
        if self._is_under_way or self._bytes < self.window // 4:  # what is far from the limit need not be measured
            return False
        self._is_under_way = True
        self._bytes = size
        return True

    def answered(self) -> int | None:
        """The PING was answered. Gives the new size of the windows, None when they stay."""
        filled, self._bytes, self._is_under_way = self._bytes, 0, False
        if filled * 3 < self.window * 2:
            return None
        self.window = min(2 * self.window, self._largest)
        return self.window
