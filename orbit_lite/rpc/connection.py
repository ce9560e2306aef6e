"""An HTTP/2 connection on asyncio: carries bytes between a transport, the protocol state in `http2` and the streams.

Both roles. A server is told of each new request through `accept`; a client opens streams with `open_stream`. However
the connection ends (one side closes it, the peer breaks the protocol or is silent for too long), every stream learns of
it. A defect in here ends one connection, never the process.

Receive windows are fixed: a stream may run 1 MiB ahead of its reader, a connection 4 MiB, so that one slow reader does
not stop the others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from h2 import events
from h2.exceptions import NoAvailableStreamIDError

from orbit_lite.errors import quote
from orbit_lite.rpc.context import Peer
from orbit_lite.rpc.http2 import LAST_STREAM_ID, GoAway, Http2, ProtocolError
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.status import ErrorCode
from orbit_lite.rpc.stream import ConnectionEnded, Stream

__all__ = ["Connection", "ConnectionSettings"]

log = logging.getLogger("orbit_lite.rpc")

STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 4 << 20
OUTPUT_LIMIT = 4 << 20
TOO_MANY_PINGS = b"too_many_pings"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """What a connection needs to know. Durations are seconds, None = never."""

    client: bool
    max_concurrent_streams: int = 100  # calls that the peer may have open; server only
    preface_timeout: float | None = None  # for the peer's first SETTINGS
    keep_alive_interval: float | None = None
    keep_alive_timeout: float = 20.0
    tcp_keepalive: float | None = None


class Connection(asyncio.Protocol):
    """One connection. Public state: `peer`, `is_open`, `goaway_code`, `streams` that have an owner."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        accept: Callable[[Stream], None] | None = None,
        on_start: Callable[[Connection], None] | None = None,
        on_end: Callable[[Connection], None] | None = None,
    ) -> None:
        self.settings = settings
        self.h2 = Http2(
            client=settings.client,
            streams=settings.max_concurrent_streams,
            stream_window=STREAM_WINDOW,
            connection_window=CONNECTION_WINDOW,
        )
        self.streams: dict[int, Stream] = {}
        self.peer = Peer()
        self.ended: ConnectionEnded | None = None
        self.goaway: GoAway | None = None
        self._accept = accept
        self._on_start = on_start
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._places: deque[asyncio.Future[None]] = deque()
        self._offers = 0  # places that were offered to waiters and not taken yet
        self._last_received = self._loop.time()
        self._preface_timer: asyncio.TimerHandle | None = None
        self._alive_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------- state

    @property
    def is_open(self) -> bool:
        """Whether new streams may be opened."""
        return self.ended is None and self.goaway is None and self._ready.done()

    @property
    def has_closed(self) -> bool:
        """Whether the transport is gone."""
        return self._closed.done()

    @property
    def was_too_chatty(self) -> bool:
        """Whether the peer went away because of our PINGs."""
        goaway = self.goaway
        return goaway is not None and goaway.code == ErrorCode.ENHANCE_YOUR_CALM and goaway.debug == TOO_MANY_PINGS

    async def wait_ready(self) -> None:
        """Until the peer's SETTINGS have come: it speaks HTTP/2. Raises ConnectionEnded."""
        await asyncio.shield(self._ready)

    async def wait_closed(self) -> None:
        """Until the transport is closed."""
        await asyncio.shield(self._closed)

    def __repr__(self) -> str:
        state = f"ended: {self.ended}" if self.ended else "going away" if self.goaway else "open"
        return f"<Connection {self.peer} {state}, {len(self.streams)} streams>"

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = _peer_of(transport)
        # Not before this: of a TLS handshake that fails a protocol hears nothing, not even the end.
        if self._on_start is not None:
            self._on_start(self)
        if self.ended is not None:
            return
        tls = transport.get_extra_info("ssl_object")
        if isinstance(tls, ssl.SSLObject) and tls.selected_alpn_protocol() != "h2":
            self._end("the peer did not agree to h2 in the TLS handshake (ALPN)", abort=True)
            return
        _tune(transport.get_extra_info("socket"), self.settings.tcp_keepalive)
        self.flush()
        if self.settings.preface_timeout is not None:
            self._preface_timer = self._loop.call_later(self.settings.preface_timeout, self._no_preface)
        if self.settings.keep_alive_interval is not None:
            self._alive_timer = self._loop.call_later(self.settings.keep_alive_interval, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        if self._ping_timer is not None:  # any sign of life will do (gRFC A8)
            self._ping_timer.cancel()
            self._ping_timer = None
        if self.ended is not None:
            return
        try:
            for event in self.h2.receive(data):
                self._process(event)
        except ProtocolError as error:
            self._end(self._explain(error, data))
        except Exception:  # whatever h2 or we did wrong with these bytes, it is this connection's affair only
            log.exception("defect while reading from %s", self.peer)
            self._end("internal error while reading", ErrorCode.INTERNAL_ERROR)
        else:
            self.flush()

    def eof_received(self) -> None:
        self._end("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection was lost" + (f": {exc}" if exc is not None else ""))
        if not self._closed.done():
            self._closed.set_result(None)
        if self._on_end is not None:
            self._on_end(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._progress()

    # ---------------------------------------------------------------- for streams

    def flush(self) -> None:
        """Hand to the transport what the protocol wants sent.

        DATA waits while the transport's buffer is full; what piles up there is answers to a peer that asks and does not
        read, and has an end (CVE-2019-9512, CVE-2019-9515).
        """
        data = self.h2.data_to_send()
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
            if self._paused and transport.get_write_buffer_size() > OUTPUT_LIMIT:
                self._end("the peer does not read what it asked for", abort=True)

    def room(self, stream_id: int) -> int:
        """Bytes that may be sent now, 0 while the transport's buffer is full."""
        return 0 if self._paused else self.h2.room(stream_id)

    def give_back(self, stream_id: int, size: int) -> None:
        """The reader took `size` bytes: let the peer send as many more."""
        if self.ended is None and size:
            self.h2.acknowledge_received_data(size, stream_id)
            self.flush()

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Send RST_STREAM if the stream is not over yet."""
        if self.ended is None and self.h2.can_reset(stream_id):
            self.h2.reset_stream(stream_id, code)
            self.flush()

    def release(self, stream: Stream) -> None:
        """The stream's owner is done with it."""
        self.streams.pop(stream.id, None)
        self._offer_places()
        self._end_if_idle()

    async def open_stream(self, headers: Callable[[], Headers], *, end: bool = False) -> Stream:
        """Send a request's headers on a new stream; waits while the peer's limit or a full transport forbids it.

        headers: asked for when they are sent, since they tell the time that is left; what it raises passes through.
        Raises ConnectionEnded with `processed` False: nothing was sent.
        """
        was_offered = False
        while self._free_places() <= 0 or (self._places and not was_offered):
            await self._wait_for_place()
            was_offered = True
        if self.ended is not None or self.goaway is not None:
            reason = self.ended.reason if self.ended is not None else self._goaway_text()
            raise ConnectionEnded(reason, processed=False)
        try:
            stream_id = self.h2.get_next_available_stream_id()
        except NoAvailableStreamIDError as error:
            self.goaway = GoAway(LAST_STREAM_ID, ErrorCode.NO_ERROR, b"")
            raise ConnectionEnded("the connection has used up its stream ids", processed=False) from error
        try:
            fields = headers()
        except Exception:
            self._offer_places()  # the place was not used after all
            raise
        self.h2.send_headers(stream_id, fields, end_stream=end)
        stream = self.streams[stream_id] = Stream(self, stream_id, send_ended=end)
        self.flush()
        return stream

    # ---------------------------------------------------------------- closing

    def go_away(self, *, final: bool) -> None:
        """Tell the peer to open no more streams: first as a warning, then with the last id that we took."""
        if self.ended is None:
            self.h2.send_goaway(ErrorCode.NO_ERROR, None if final else LAST_STREAM_ID)
            self.flush()

    def close(self, reason: str = "closed by us", code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """End the connection: GOAWAY, what is buffered, then the transport. Streams that are open fail."""
        self._end(reason, code)

    def abort(self) -> None:
        """Drop the transport at once, for a peer that does not even take what is buffered."""
        self._end("aborted by us", abort=True)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str, code: ErrorCode | None = None, *, abort: bool = False) -> None:
        if self.ended is not None:
            return
        if code is not None:
            self.h2.send_goaway(code)
        if not abort:
            self.flush()
        self.ended = ConnectionEnded(reason, by_us=code is ErrorCode.NO_ERROR)
        log.debug("= %s", self)
        for timer in (self._preface_timer, self._alive_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        if not self._ready.done():
            self._ready.set_exception(self.ended)
            self._ready.exception()  # whoever waits raises it; without a waiter nothing is lost but this connection
        for stream in list(self.streams.values()):
            stream.fail(self.ended)
        self._offer_places()
        if self._transport is not None:
            self._transport.abort() if abort else self._transport.close()

    # ---------------------------------------------------------------- events

    def _process(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived(stream_id=stream_id, headers=headers):
                self._request(stream_id, _decode(headers))
            case (
                events.ResponseReceived(stream_id=stream_id, headers=headers)
                | events.TrailersReceived(stream_id=stream_id, headers=headers)
            ):
                if stream := self.streams.get(stream_id):
                    stream.on_headers(_decode(headers))
            case events.DataReceived(stream_id=stream_id, data=data, flow_controlled_length=size):
                if data and (stream := self.streams.get(stream_id)):
                    stream.on_data(data, size)
                else:
                    self.give_back(stream_id, size)
            case events.StreamEnded(stream_id=stream_id):
                if stream := self.streams.get(stream_id):
                    stream.on_end()
            case events.StreamReset(stream_id=stream_id, error_code=code, remote_reset=by_peer):
                if stream := self.streams.get(stream_id):
                    stream.on_reset(int(code), by_peer=by_peer)
                self._offer_places()
            case events.WindowUpdated(stream_id=0):
                self._progress()
            case events.WindowUpdated(stream_id=stream_id):
                if stream := self.streams.get(stream_id):
                    stream.on_progress()
            case events.RemoteSettingsChanged():
                self._settings()
            case GoAway():
                self._goaway(event)
            case _:  # PING (answered by h2), PRIORITY, 1xx responses, frames of unknown types: nothing to do
                pass

    def _request(self, stream_id: int, headers: Headers) -> None:
        if self._accept is None or len(self.streams) >= self.settings.max_concurrent_streams:
            # A place is held until the handler has really ended: peers that open and reset streams gain nothing.
            self.h2.reset_stream(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = self.streams[stream_id] = Stream(self, stream_id)
        stream.on_headers(headers)
        self._accept(stream)

    def _settings(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)
            log.debug("= %s", self)
        if self._preface_timer is not None:
            self._preface_timer.cancel()
            self._preface_timer = None
        self._progress()

    def _goaway(self, event: GoAway) -> None:
        log.debug("< GOAWAY %s from %s", ErrorCode.name_of(event.code), self.peer)
        self.goaway = event
        self._offer_places()
        for stream in list(self.streams.values()):
            if self.settings.client and stream.id > event.last_stream_id:
                stream.fail(ConnectionEnded(self._goaway_text(), processed=False))
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        # A client has nothing more to do here; of a server's connection the client decides.
        if self.settings.client and self.goaway is not None and not self.streams:
            self._end("closed after the peer's GOAWAY")

    def _goaway_text(self) -> str:
        if self.goaway is None:
            return "the peer is going away"
        debug = quote(self.goaway.debug.decode("utf-8", "replace"))
        return f"the peer is going away: GOAWAY {ErrorCode.name_of(self.goaway.code)}" + (f", {debug}" if debug else "")

    def _progress(self) -> None:
        for stream in self.streams.values():
            stream.on_progress()
        self._offer_places()

    def _free_places(self) -> int:
        """Streams that may be opened now; without end when the connection has ended, so that nobody waits for it."""
        if self.ended is not None or self.goaway is not None:
            return LAST_STREAM_ID
        return 0 if self._paused else self.h2.free_streams - self._offers

    async def _wait_for_place(self) -> None:
        """First come, first served: an offered place is taken at once or passed on."""
        place = self._loop.create_future()
        self._places.append(place)
        try:
            await place
        except BaseException:  # cancelled, or closed as a coroutine
            if place.done() and not place.cancelled():
                self._offers -= 1
                self._offer_places()
            elif place in self._places:
                self._places.remove(place)
            raise
        self._offers -= 1

    def _offer_places(self) -> None:
        free = self._free_places()
        while self._places and free > 0:
            place = self._places.popleft()
            if not place.done():
                place.set_result(None)
                self._offers += 1
                free -= 1

    # ---------------------------------------------------------------- timers

    def _no_preface(self) -> None:
        self._end("no HTTP/2 preface came in time", abort=True)

    def _keep_alive(self) -> None:
        """PING a connection that has been silent; a client only while calls are open (gRFC A8)."""
        interval = cast(float, self.settings.keep_alive_interval)
        wait = interval - (self._loop.time() - self._last_received)
        if wait <= 0:
            wait = interval
            if (self.streams or not self.settings.client) and self._ping_timer is None:
                self.h2.ping(b"orbitlit")
                self.flush()
                self._ping_timer = self._loop.call_later(self.settings.keep_alive_timeout, self._no_answer)
        self._alive_timer = self._loop.call_later(wait, self._keep_alive)

    def _no_answer(self) -> None:
        self._end(f"the peer did not answer a PING within {self.settings.keep_alive_timeout:g} s", abort=True)

    def _explain(self, error: ProtocolError, data: bytes) -> str:
        if not self._ready.done() and data.startswith(b"HTTP/1"):
            return "the peer speaks HTTP/1.1, not HTTP/2"
        return f"the peer broke the HTTP/2 protocol: {quote(str(error))}"


def _decode(headers: object) -> Headers:
    """Header octets as text: latin-1 loses nothing and never fails."""
    pairs = cast("list[tuple[bytes, bytes]]", headers)
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


def _peer_of(transport: asyncio.BaseTransport) -> Peer:
    address = transport.get_extra_info("peername")
    certificate = transport.get_extra_info("peercert")
    if isinstance(address, tuple) and len(address) >= 2:
        return Peer(str(address[0]), int(address[1]), certificate or None)
    return Peer(certificate=certificate or None)


def _tune(connection: socket.socket | None, keepalive: float | None) -> None:
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # asyncio sets TCP_NODELAY for the connections that it opens; for sockets handed in from outside it does not always.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keepalive is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):  # absent on some systems, whose own times then hold
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), max(1, round(keepalive)))
