"""When an address that could not be reached is tried again (grpc/doc/connection-backoff.md). Draws are handed in."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["backoff"]

INITIAL = 1.0  # seconds
MULTIPLIER = 1.6
JITTER = 0.2
LARGEST = 120.0


def backoff(*, initial: float = INITIAL, largest: float = LARGEST) -> Iterator[float]:
    """Seconds to wait after the first failure, the second, and so on."""
    delay = initial
    while True:
        yield delay * random.uniform(1 - JITTER, 1 + JITTER)
        delay = min(delay * MULTIPLIER, largest)
