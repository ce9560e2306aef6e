"""Frames that carry no content: priority, reset, settings, ping, goaway, window updates (RFC 9113 §6.3 to §6.9).

The second third of a connection's state, see connection.py.
"""

from __future__ import annotations

from collections.abc import Callable

from orbit_lite.http2 import frames as wire
from orbit_lite.http2 import settings as names
from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.errors import ConnectionFault, ErrorCode, StreamFault
from orbit_lite.http2.events import (
    Event,
    GoAwayReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)
from orbit_lite.http2.fields import HeaderMemory
from orbit_lite.http2.frames import UINT32
from orbit_lite.http2.sending import LAST_STREAM_ID, SendingSide
from orbit_lite.http2.settings import LARGEST_WINDOW
from orbit_lite.http2.windows import PROBE, BandwidthProbe

__all__ = ["ControlSide"]


class ControlSide(SendingSide):
    """One end of a connection as the peer's control frames change it."""

    __slots__ = (
        "_events",
        "_now",
        "_probe",
        "_settings_sent",
        "is_ready",
    )

    def __init__(self, config: Http2Config, *, client: bool, now: float, memory: HeaderMemory | None = None) -> None:
        super().__init__(config, client=client, now=now, memory=memory)
        #: The peer's SETTINGS have come.
        self.is_ready = False
        self._probe = BandwidthProbe(config.stream_window, config.largest_window) if config.adaptive_window else None
        self._settings_sent: float | None = now  # until they are acknowledged
        self._now = now
        self._events: list[Event] = []

    def _read_control(self, kind: int, stream_id: int, flags: int, payload: bytes) -> None:
        read = _READERS.get(kind)
        if read is not None:  # frames of unknown types are ignored (RFC 9113 §5.5)
            read(self, stream_id, flags, payload)

    def _read_priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._budgets.update()
        if len(payload) != 5:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        if UINT32.unpack_from(payload)[0] & LAST_STREAM_ID == stream_id:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")

    def _read_reset(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes")
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        is_early = stream.can_send
        stream.can_send = stream.can_receive = False
        self._events.append(StreamReset(stream, UINT32.unpack(payload)[0], by_peer=True))
        if is_early and not self.is_client:
            self._budgets.reset(self._now)

    def _read_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & wire.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "acknowledgement of SETTINGS with content")
            self._settings_sent = None
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        if len(payload) // 6 > self.config.max_settings:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many settings in a frame", b"too_many_settings")
        self._budgets.settings(self._now)
        peer = self.peer
        for name, value in names.read_settings(payload, from_server=self.is_client):
            if name == names.INITIAL_WINDOW_SIZE:
                self._change_windows(value - peer.initial_window_size)
                peer.initial_window_size = value
            elif name == names.MAX_FRAME_SIZE:
                peer.max_frame_size = value
            elif name == names.MAX_CONCURRENT_STREAMS:
                peer.max_concurrent_streams = value
            elif name == names.HEADER_TABLE_SIZE:
                peer.header_table_size = value
                self._encoder.limit_table(value)
            elif name == names.MAX_HEADER_LIST_SIZE:
                peer.max_header_list_size = value
        self._answer(wire.settings_frame((), ack=True))
        self.is_ready = True
        self._events.append(SettingsReceived())

    def _change_windows(self, change: int) -> None:
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE overflows a window")
        if change > 0 and self._is_blocked:
            self._events.append(WindowOpened(None))

    def _answer(self, frame: bytes) -> None:
        self._answers += 1
        if self._answers > self.config.max_queued_answers:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the peer does not read our answers", b"too_many_pings")
        self.out += frame

    def _read_push(self, stream_id: int, flags: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody may send here")

    def _read_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if not flags & wire.ACK:
            if not self.is_client:  # servers may test an idle connection as often as they like (gRFC A9)
                self._budgets.ping(self._now, has_streams=bool(self.streams))
            self._answer(wire.ping_frame(payload, ack=True))
        elif payload != PROBE:
            self._events.append(PingAcknowledged(payload))
        elif self._probe is not None and (window := self._probe.answered()) is not None:
            self._grow(window)

    def _grow(self, window: int) -> None:
        """Let the receive windows of streams be `window`, and the connection's hold a few of them."""
        change = window - self._stream_window
        self._stream_window = window
        self.out += wire.settings_frame([(names.INITIAL_WINDOW_SIZE, window)])
        self._settings_sent = self._now
        for stream in self.streams.values():
            stream.receive_window += change
        whole = max(self._connection_window, min(4 * window, 2 * self.config.largest_window, LARGEST_WINDOW))
        if whole > self._connection_window:
            self.out += wire.window_update_frame(0, whole - self._connection_window)
            self._receive_window += whole - self._connection_window
            self._connection_window = whole

    def _read_goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        last, code = UINT32.unpack_from(payload)[0] & LAST_STREAM_ID, UINT32.unpack_from(payload, 4)[0]
        self._events.append(GoAwayReceived(last, code, payload[8:]))

    def _read_window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
        increment = UINT32.unpack(payload)[0] & LAST_STREAM_ID
        self._budgets.update()
        if stream_id == 0:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self.send_window += increment
            if self.send_window > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE overflows the connection's window")
            if self._is_blocked and self.send_window > 0:
                self._is_blocked = False
                self._events.append(WindowOpened(None))
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")
            return
        if not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE overflows the stream's window")
        if stream.is_blocked and stream.send_window > 0:
            stream.is_blocked = False
            self._events.append(WindowOpened(stream))


_READERS: dict[int, Callable[[ControlSide, int, int, bytes], None]] = {
    wire.PRIORITY: ControlSide._read_priority,
    wire.RST_STREAM: ControlSide._read_reset,
    wire.SETTINGS: ControlSide._read_settings,
    wire.PUSH_PROMISE: ControlSide._read_push,
    wire.PING: ControlSide._read_ping,
    wire.GOAWAY: ControlSide._read_goaway,
    wire.WINDOW_UPDATE: ControlSide._read_window_update,
}
