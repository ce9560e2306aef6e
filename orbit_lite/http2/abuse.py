"""Budgets against peers that make us work for nothing (RFC 9113 §10.5). Whoever runs out of one loses the connection.

All of them are refilled by useful traffic or by time, so that no well-behaved peer ever meets one.
"""

from __future__ import annotations

from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.errors import ConnectionFault, ErrorCode

__all__ = ["Budgets"]

#: Received bytes / this may not exceed the useful ones by more than _WASTE, and some more for each second: PINGs.
_WASTE_RATIO = 8
_WASTE = 1 << 20
_WASTE_RATE = 64
#: What a frame of our DATA brings back: a WINDOW_UPDATE of stream and connection, and a PING; / _WASTE_RATIO.
_USEFUL_PER_FRAME = 6
#: WINDOW_UPDATE and PRIORITY frames: some, and some more for each stream and each frame of ours.
_FREE_UPDATES = 1000
_UPDATES_PER_FRAME = 10
_MOST_UPDATES = 1 << 20
_REFUSED = 512
_SETTINGS_RATE = 1.0


class _Bucket:
    """Tokens that come back with time. rate: a second."""

    __slots__ = ("_rate", "_when", "burst", "tokens")

    def __init__(self, burst: float, rate: float) -> None:
        self.burst = self.tokens = burst
        self._rate = rate
        self._when = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self._when) * self._rate)
        self._when = now
        self.tokens -= 1
        return self.tokens >= 0

    def give(self, tokens: float) -> None:
        self.tokens = min(self.burst, self.tokens + tokens)


class Budgets:
    """What one connection's peer may still do. What uses up the last of it raises ConnectionFault."""

    __slots__ = (
        "_began",
        "_config",
        "_last_ping",
        "_resets",
        "_settings",
        "_strikes",
        "_updates",
        "empty_frames",
        "finished",
        "frames_sent",
        "harmless",
        "received",
        "refused",
        "useful",
    )

    def __init__(self, config: Http2Config, now: float) -> None:
        self._config = config
        self._began = now
        self._resets = _Bucket(config.reset_burst, config.reset_rate)
        self._settings = _Bucket(config.settings_burst, _SETTINGS_RATE)
        self._strikes = 0
        self._last_ping: float | None = None
        self._updates = _FREE_UPDATES
        self.empty_frames = 0
        self.refused = 0
        #: Streams that ended as they should. Each pays for a refusal, a tenth of a reset, and the frames that tune its
        #: flow; what they pay is counted when something is to be paid for, which is seldom.
        self.finished = 0
        #: Frames of DATA that went out, likewise: the peer answers with WINDOW_UPDATEs, and may PING again (gRFC A8).
        self.frames_sent = 0
        #: As long as no more was `received`, there is no need to ask for `waste`.
        self.harmless = _WASTE_RATIO * _WASTE
        self.received = 0
        self.useful = 0

    def _settle(self) -> None:
        """Count what finished streams and sent frames pay."""
        finished, self.finished = self.finished, 0
        if finished:
            self._resets.give(0.1 * finished)
            self.refused = max(0, self.refused - finished)
            if self._updates < _MOST_UPDATES:
                self._updates = min(_MOST_UPDATES, self._updates + finished * _UPDATES_PER_FRAME)
        frames, self.frames_sent = self.frames_sent, 0
        if frames:
            if self._updates < _MOST_UPDATES:
                self._updates = min(_MOST_UPDATES, self._updates + frames * _UPDATES_PER_FRAME)
            self.useful += frames * _USEFUL_PER_FRAME
            self._strikes = 0
            self._last_ping = None

    def reset(self, now: float) -> None:
        """A stream was reset before its end, by the peer or for what the peer did."""
        self._settle()
        if not self._resets.take(now):
            raise _calm("more streams were reset than finished", b"too_many_resets")

    def refuse(self) -> None:
        """A stream was opened above the limit."""
        self._settle()
        self.refused += 1
        if self.refused > _REFUSED:
            raise _calm("streams are opened above the limit again and again", b"too_many_streams")

    def settings(self, now: float) -> None:
        """A SETTINGS frame came."""
        if not self._settings.take(now):
            raise _calm("too many SETTINGS frames", b"too_many_settings")

    def ping(self, now: float, *, has_streams: bool) -> None:
        """A PING came; see gRFC A9."""
        config = self._config
        if config.ping_interval is None:
            return
        self._settle()
        shortest = config.ping_interval_with_streams if has_streams else config.ping_interval
        if self._last_ping is not None and now - self._last_ping < shortest:
            self._strikes += 1
            if self._strikes > config.ping_strikes:
                raise _calm("PINGs come too often", b"too_many_pings")
        self._last_ping = now

    def empty(self) -> None:
        """A frame without content, which ended nothing."""
        self.empty_frames += 1
        if self.empty_frames > self._config.max_empty_frames:
            raise _calm("too many empty frames", b"too_many_data_frames")

    def update(self) -> None:
        """A WINDOW_UPDATE or PRIORITY frame came."""
        if self.finished or self.frames_sent:
            self._settle()
        self._updates -= 1
        if self._updates < 0:
            raise _calm("too many WINDOW_UPDATE or PRIORITY frames", b"too_many_updates")

    def waste(self, now: float) -> None:
        """Bytes came; the catch-all for those of no use."""
        self._settle()
        self.harmless = _WASTE_RATIO * (self.useful + _WASTE)
        useless = self.received - self.harmless
        if useless > 0 and useless > (now - self._began) * _WASTE_RATE:
            raise _calm("too many useless bytes", b"too_many_bytes")


def _calm(reason: str, debug: bytes) -> ConnectionFault:
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason, debug)
