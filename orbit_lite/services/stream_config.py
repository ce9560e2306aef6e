"""Settings of the streams on which this process invokes actors elsewhere. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.errors import ConfigurationError

__all__ = ["StreamConfig"]

_YEAR = 366 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How calls wait, and how a lost stream is opened again. Raises ConfigurationError for a value out of range."""

    request_timeout: float = 30.0
    """Time that a call may take, its wait in the queue included, where the caller gives none. As Orbit-RS."""

    max_in_flight: int = 1024
    """Unanswered calls per stream; further ones wait. What an orbit-lite server runs at once for one stream."""

    max_waiting: int = 10_000
    """Calls that may wait to be sent per stream; a further one is refused with OverloadedError. As Orbit-RS's bound of
    pending actor messages."""

    backoff_initial: float = 0.1
    """Upper bound of the delay before the second attempt in a row to open a stream; the first has none."""

    backoff_multiplier: float = 2.0
    """Factor by which that bound grows with each further attempt."""

    backoff_max: float = 1.0
    """Value above which that bound does not grow. Small, since calls wait for it; a pool adds its own between dials."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("request_timeout", 0.001, _YEAR),
            ("max_in_flight", 1, 1_000_000),
            ("max_waiting", 1, 1_000_000),
            ("backoff_initial", 0.0, 3600.0),
            ("backoff_multiplier", 1.0, 100.0),
            ("backoff_max", self.backoff_initial, 3600.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigurationError(f"{name}={value!r}: must be from {low:g} to {high:g}")

    def backoff(self, failures: int, draw: float) -> float:
        """The delay after so many failures in a row. draw: random, from 0 to 1 (full jitter)."""
        if failures <= 1:
            return 0.0
        return draw * min(self.backoff_max, self.backoff_initial * self.backoff_multiplier ** min(failures - 2, 64))
