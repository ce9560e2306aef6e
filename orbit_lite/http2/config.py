"""What one HTTP/2 connection offers its peer, and how much it puts up with. Sizes are bytes, durations seconds.

The limits are what is left over by attacks that have names: rapid reset (CVE-2023-44487), MadeYouReset (CVE-2025-8671),
floods of CONTINUATION, PING, SETTINGS and empty frames (CVE-2019-9511 to 9518), HPACK bombs. A well-behaved peer does
not meet them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Http2Config"]

KIB = 1 << 10
MIB = 1 << 20
DEFAULT_WINDOW = 65_535  # RFC 9113 §6.9.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Config:
    """Settings of one end of a connection. Raises ValueError for what the protocol cannot say."""

    max_concurrent_streams: int = 256
    """Streams that the peer may have open. A place is taken until the work on the stream has ended, not until its
    reset. Go allows 250, hyper 200, nginx 128."""

    stream_window: int = 1 * MIB
    """How far one stream may run ahead of its reader, at the beginning."""

    connection_window: int = 4 * MIB
    """How far all streams together may, so that one slow reader does not stop the others."""

    largest_window: int = 16 * MIB
    """What windows grow to while adaptive_window finds that they are what limits the peer."""

    adaptive_window: bool = True
    """Measure the bandwidth-delay product and let windows follow it."""

    max_frame_size: int = 64 * KIB
    """Largest frame that is accepted (RFC 9113 §4.2 asks for 16 KiB at least)."""

    max_header_list_size: int = 16 * KIB
    """Names, values and 32 bytes for each field: over this a request is refused, over four times as much the
    connection ends."""

    max_header_fields: int = 128
    """Fields of one header block; over it the request is refused."""

    max_continuations: int = 8
    """CONTINUATION frames of one header block."""

    preface_timeout: float = 10.0
    """Time for the peer's connection preface."""

    settings_timeout: float = 10.0
    """Time for the acknowledgement of our SETTINGS."""

    header_timeout: float = 10.0
    """Time for a header block that has begun."""

    frame_timeout: float = 30.0
    """Time for a frame that has begun, however its bytes arrive."""

    reset_burst: int = 200
    """Streams that end by a reset before their answer, on top of the allowed rate."""

    reset_rate: float = 33.0
    """Such streams a second, or a tenth of those that end normally, whichever is more."""

    settings_burst: int = 50
    """SETTINGS frames on top of one a second."""

    max_settings: int = 32
    """Entries of one SETTINGS frame."""

    ping_interval: float | None = 300.0
    """Time between PINGs that a peer without open streams may send; None = any number (gRFC A9)."""

    ping_interval_with_streams: float = 10.0
    """The same while streams are open."""

    ping_strikes: int = 2
    """PINGs that may come too early before the connection ends with `too_many_pings`."""

    max_empty_frames: int = 100
    """Frames of DATA or header blocks without content, between frames with some."""

    max_queued_answers: int = 100
    """Acknowledgements that wait because the peer does not read."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_concurrent_streams", 1, (1 << 31) - 1),
            ("stream_window", DEFAULT_WINDOW, (1 << 31) - 1),
            ("connection_window", DEFAULT_WINDOW, (1 << 31) - 1),
            ("largest_window", DEFAULT_WINDOW, (1 << 31) - 1),
            ("max_header_list_size", 1, (1 << 32) - 1),
            ("max_frame_size", 1 << 14, (1 << 24) - 1),
        ):
            if not low <= (value := getattr(self, name)) <= high:
                raise ValueError(f"{name}={value!r}: must be from {low} to {high}")
