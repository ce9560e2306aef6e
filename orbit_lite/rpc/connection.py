"""An HTTP/2 connection on asyncio: carries bytes between a transport, the protocol state in `http2` and the streams.

Both roles. A server is told of each new request through `accept`; a client opens streams with `open_stream`. However
the connection ends (one side closes it, the peer breaks the protocol or is silent for too long), every stream learns of
it. A defect in here ends one connection, never the process.

What calls send is collected for a moment. With nothing else in flight it leaves at once; else after some messages or at
the end of the event loop's turn, whichever comes first: one system call then serves many messages, and yet the peer has
something to do while we make the next ones.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast
from weakref import WeakKeyDictionary

from orbit_lite.errors import quote
from orbit_lite.http2 import events
from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.connection import LAST_STREAM_ID
from orbit_lite.http2.connection import Connection as Http2
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.fields import HeaderMemory
from orbit_lite.http2.streams import Stream as Http2Stream
from orbit_lite.rpc.context import Peer
from orbit_lite.rpc.keepalive import KeepAlive
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.stream import CALL, MESSAGE, ConnectionEnded, Stream
from orbit_lite.rpc.timers import Expiry
from orbit_lite.rpc.waiting import Backlog, Places, Watchers
from orbit_lite.rpc.wakeup import Wakeup, fire_all

__all__ = ["Connection", "ConnectionSettings"]

log = logging.getLogger("orbit_lite.rpc")

OUTPUT_LIMIT = 4 << 20
BACKLOG_LIMIT = 4 << 20
TOO_MANY_PINGS = b"too_many_pings"
#: Seconds between the two GOAWAYs of a retirement: longer than a round trip, so that no stream crosses the second.
RETIREMENT = 0.5
#: What was collected is sent when the weights of its parts reach this.
BATCH = 32
#: The same for the first messages that a stream sends without waiting in a turn, doubled for the next ones up to BATCH;
#: and the bytes of output at which it is sent in any case.
FIRST_BATCH = 8
BATCH_BYTES = 64 * 1024
#: Of a connection that is not made yet.
NOBODY = Peer()
#: Bytes that are read at once.
READ_SIZE = 256 * 1024

_read_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Where all connections of a loop read into: what came is copied out before the next one reads.

    A plain `asyncio.Protocol` is given new bytes, made READ_SIZE long and cut down: the C library asks the system for
    so large a piece and gives it back each time, three system calls and a page fault, more than the read itself takes.
    """
    buffer = _read_buffers.get(loop)
    if buffer is None:
        buffer = _read_buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """What a connection needs to know. Durations are seconds, None = never."""

    client: bool
    http2: Http2Config = field(default_factory=Http2Config)
    keep_alive_interval: float | None = None
    keep_alive_timeout: float = 20.0
    tcp_keepalive: float | None = None
    stall_timeout: float | None = 30.0  # how long a sender waits for a peer that makes no room


class Connection(asyncio.BufferedProtocol):
    """One connection. Public state: `peer`, `is_open`, `is_paused`, `goaway`, `streams` that have an owner."""

    __slots__ = (
        "_accept",
        "_batch",
        "_buffer",
        "_has_flushed",
        "_is_ready",
        "_keep_alive",
        "_more",
        "_news",
        "_on_end",
        "_on_start",
        "_places",
        "_reading",
        "_receiving",
        "_retirement",
        "_timer",
        "_transport",
        "_turn",
        "_unsent",
        "_woken",
        "backlog",
        "ended",
        "expiry",
        "goaway",
        "h2",
        "has_closed",
        "idle_since",
        "is_paused",
        "is_retiring",
        "last_received",
        "loop",
        "made_at",
        "peer",
        "pinged_at",
        "settings",
        "streams",
        "was_useful",
    )

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        accept: Callable[[Stream], None] | None = None,
        on_start: Callable[[Connection], None] | None = None,
        on_end: Callable[[Connection], None] | None = None,
        keep_alive: KeepAlive | None = None,
        memory: HeaderMemory | None = None,
    ) -> None:
        """keep_alive, memory: what it shares with other connections of the same settings; None = its own, but that all
        clients of a process share one memory."""
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        #: When the last stream was released, or the connection was made, and when something came; by the loop's time.
        self.idle_since = self.made_at = self.last_received = self.loop.time()
        if memory is None and settings.client:
            memory = _of_clients(settings.http2.max_header_list_size, settings.http2.max_header_fields)
        self.h2 = Http2(settings.http2, client=settings.client, now=self.made_at, memory=memory)
        self.streams: dict[int, Stream] = {}
        self.peer = NOBODY
        self.ended: ConnectionEnded | None = None
        self.goaway: events.GoAwayReceived | None = None
        #: The transport is gone.
        self.has_closed = False
        #: The keep-alive's own note.
        self.pinged_at: float | None = None
        self._accept = accept
        self._on_start = on_start
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self.is_paused = False
        self._buffer = _read_buffer(self.loop)
        self._reading = self._receiving = False
        self._batch = FIRST_BATCH
        self._woken: list[Wakeup] = []
        self._turn: asyncio.Handle | None = None
        self._has_flushed = False
        self._unsent = 0
        #: Messages that wait for room. While it is full no further one should be made.
        self.backlog = Backlog(BACKLOG_LIMIT)
        self._is_ready = False
        self._news = Watchers()  # of: is ready, has ended, has closed
        self._places = Places(self.loop, self._free_places)
        #: The deadlines of streams; a server's have none here.
        self.expiry = Expiry(self.loop, self.streams.values) if settings.client else None
        self._keep_alive = keep_alive
        if keep_alive is None and settings.keep_alive_interval is not None:
            self._keep_alive = KeepAlive(
                self.loop, interval=settings.keep_alive_interval, timeout=settings.keep_alive_timeout
            )
        self._more: asyncio.Handle | None = None
        self.is_retiring = False
        #: Something was answered here.
        self.was_useful = False
        self._retirement: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------- state

    @property
    def is_open(self) -> bool:
        """Whether new streams may be opened."""
        return self.ended is None and self.goaway is None and self._is_ready

    @property
    def is_calm_asked(self) -> bool:
        """Whether the peer went away because of what we asked for, PINGs aside."""
        goaway = self.goaway
        return goaway is not None and goaway.code == ErrorCode.ENHANCE_YOUR_CALM and not self.was_too_chatty

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses the connection."""
        return not self.streams

    @property
    def was_too_chatty(self) -> bool:
        """Whether the peer went away because of our PINGs."""
        goaway = self.goaway
        return goaway is not None and goaway.code == ErrorCode.ENHANCE_YOUR_CALM and goaway.debug == TOO_MANY_PINGS

    @property
    def is_worth_a_ping(self) -> bool:
        """Whether it is to be tested when it is silent: by a client only while calls are open."""
        return bool(self.streams) or not self.settings.client

    async def wait_ready(self) -> None:
        """Until the peer's SETTINGS have come: it speaks HTTP/2. Raises ConnectionEnded."""
        while not self._is_ready:
            if self.ended is not None:
                raise self.ended
            await self._news.wait()

    async def wait_closed(self) -> None:
        """Until the transport is closed."""
        while not self.has_closed:
            await self._news.wait()

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
        self._watch()
        if self._keep_alive is not None:
            self._keep_alive.watch(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        now = self.last_received = self.loop.time()
        if self.ended is None:
            self._receive(self._buffer[:nbytes], now)

    def _receive(self, data: bytes | memoryview, now: float) -> None:
        """Let the protocol read, and tell the streams. What it leaves for later keeps further reads waiting."""
        self._reading = self._receiving = True
        self._batch = FIRST_BATCH
        try:
            for event in self.h2.receive(data, now):
                self._process(event)
        except Exception:  # whatever we did wrong with these bytes, it is this connection's affair only
            log.exception("defect while reading from %s", self.peer)
            self._end("internal error while reading", ErrorCode.INTERNAL_ERROR)
        finally:
            if self._woken:
                self._go_on()
            self._reading = self._receiving = False
        if self.h2.out:
            self.flush()
        if self.h2.has_more:
            if self._more is None and self._transport is not None:
                self._transport.pause_reading()
                self._more = self.loop.call_soon(self._receive_more)
        elif self._timer is None and self.h2.is_waiting:
            self._watch()

    def wake(self, waiters: Iterable[Wakeup]) -> None:
        """Let tasks go on that wait for what has changed: when all that was read has been looked at, or soon."""
        if self._reading:
            self._woken += waiters
        else:
            for waiter in waiters:
                waiter.fire_soon()

    def _go_on(self) -> None:
        """Let the tasks go on for which something was read; what they send is still collected, if they are several."""
        woken, self._woken = self._woken, []
        self._reading = len(woken) > 1
        fire_all(woken, self.loop)

    def _receive_more(self) -> None:
        self._more = None
        if self.ended is None:
            self._receive(b"", self.loop.time())
            if not self.h2.has_more and self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def eof_received(self) -> None:
        self._read_rest()
        self._end("the peer closed the connection")

    def _read_rest(self) -> None:
        """What arrived before the end counts, also what was left for a later turn."""
        while self.h2.has_more and self.ended is None:
            self._receive(b"", self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_rest()
        self._end("the connection was lost" + (f": {exc}" if exc is not None else ""))
        self.has_closed = True
        self._news.wake()
        if self._on_end is not None:
            self._on_end(self)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.flush()
        self._progress()

    # ---------------------------------------------------------------- for streams

    def flush(self) -> None:
        """Hand to the transport what the protocol wants sent.

        While the transport's buffer is full all of it waits; what piles up then is answers to a peer that asks and does
        not read, and has an end (CVE-2019-9512, CVE-2019-9515).
        """
        self._unsent = 0
        transport = self._transport
        if transport is None or not self.h2.out:
            return
        if not self.is_paused:
            if not transport.is_closing():
                transport.write(self.h2.take_output())
        elif len(self.h2.out) > OUTPUT_LIMIT:
            self._end("the peer does not read what it asked for", abort=True)

    def sent(self, weight: int = CALL) -> None:
        """A call has put something into the output."""
        if self._reading:  # the rest is flushed when all that was read has been answered
            self._unsent += weight
            if self._unsent >= BATCH:
                self.flush()
            return
        if self._turn is None:
            self._turn = self.loop.call_soon(self._end_turn)
            self._has_flushed = False
        self._unsent += weight
        if self._unsent >= BATCH or (not self._has_flushed and len(self.streams) <= 1):
            self._has_flushed = True
            self.flush()

    def sent_message(self) -> None:
        """A stream has put one of several messages into the output; as `sent`, but with ever larger batches.

        The peer soon has something to do, and a long row of messages costs few system calls.
        """
        unsent = self._unsent = self._unsent + MESSAGE
        if unsent >= self._batch or len(self.h2.out) >= BATCH_BYTES:
            self._batch = min(2 * self._batch, BATCH)
            self.flush()
        elif self._turn is None and not self._receiving:
            self._turn = self.loop.call_soon(self._end_turn)
            self._has_flushed = True

    def _end_turn(self) -> None:
        self._turn = None
        self._batch = FIRST_BATCH
        self.flush()

    def room(self, stream: Http2Stream) -> int:
        """Bytes that may be sent now, 0 while the transport's buffer is full."""
        return 0 if self.is_paused else self.h2.room(stream)

    async def wait_until_clear(self) -> None:
        """Until the connection is congested no more, or has ended."""
        while self.backlog.is_full and self.ended is None:
            await self.backlog.wait()

    def hold(self, size: int) -> None:
        """`size` more bytes of messages wait for room; negative: fewer."""
        self.backlog.add(size)

    def give_back(self, stream: Http2Stream, size: int) -> None:
        """The reader took `size` bytes: let the peer send as many more."""
        if self.ended is None and size:
            self.h2.consumed(stream, size)
            if self.h2.out:
                self.sent()

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Send RST_STREAM if the stream is not over yet."""
        if self.ended is None and not stream.is_closed:
            self.h2.reset(stream, code)
            self.sent()

    def release(self, stream: Stream) -> None:
        """The stream's owner is done with it."""
        if self.streams.pop(stream.h2.id, None) is None:
            return
        stream.h2.owner = None  # no cycle is left for the garbage collector, here and wherever else calls end
        if not self.settings.client:
            self.h2.release(stream.h2)
        if not self.streams:
            self.idle_since = self.last_received
        if self._places.waiters:
            self._places.offer()
        if self.goaway is not None or self.is_retiring:
            self._end_if_idle()

    def open_at_once(self, headers: Headers, data: bytes) -> Stream | None:
        """Open a stream with a whole request, if nothing makes it wait; else None: use `open_stream`."""
        if self.is_paused or self._places.is_contended or self.goaway is not None or self.ended is not None:
            return None
        opened = self.h2.open_whole(headers, data)
        if opened is None:
            return None
        stream = self.streams[opened.id] = Stream(self, opened)
        if len(self.streams) == 1 and self._turn is None and not self._reading:
            self.flush()  # nothing else is in flight, and nothing of this call will follow
        else:
            self.sent()
        return stream

    async def open_stream(self, headers: Callable[[], Headers], *, end: bool = False) -> Stream:
        """Send a request's headers on a new stream; waits while the peer's limit or a full transport forbids it.

        headers: asked for when they are sent, since they tell the time that is left; what it raises passes through.
        Raises ConnectionEnded with `processed` False: nothing was sent.
        """
        await self._places.take()
        if self.ended is not None or self.goaway is not None:
            reason = self.ended.reason if self.ended is not None else self._goaway_text()
            raise ConnectionEnded(reason, processed=False)
        if not self.h2.has_ids:
            self.goaway = events.GoAwayReceived(LAST_STREAM_ID, ErrorCode.NO_ERROR, b"")
            self._end_if_idle()
            raise ConnectionEnded("the connection has used up its stream ids", processed=False)
        try:
            fields = headers()
        except Exception:
            self._places.offer()  # the place was not used after all
            raise
        opened = self.h2.open(fields, end=end)
        stream = self.streams[opened.id] = Stream(self, opened)
        self.sent()
        return stream

    # ---------------------------------------------------------------- closing

    def retire(self) -> None:
        """Let the peer go elsewhere without losing a call: warn it, wait, then take no more (RFC 9113 §6.8)."""
        if not self.is_retiring:
            self.is_retiring = True
            self.go_away(final=False)
            self._retirement = self.loop.call_later(RETIREMENT, self._retire_now)

    def _retire_now(self) -> None:
        self.go_away(final=True)
        if not self.streams:
            self.close("retired")

    def go_away(self, *, final: bool) -> None:
        """Tell the peer to open no more streams: first as a warning, then with the last id that we took."""
        if self.ended is None:
            self.h2.go_away(ErrorCode.NO_ERROR, None if final else LAST_STREAM_ID)
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
            self.h2.go_away(code)
        if not abort:
            self.flush()
        if self.goaway is not None and self.goaway.code != ErrorCode.NO_ERROR and code is not ErrorCode.NO_ERROR:
            reason = f"{reason}: {self._goaway_text()}"
        self.ended = ConnectionEnded(reason, by_us=code is ErrorCode.NO_ERROR, is_calm_asked=self.is_calm_asked)
        log.debug("= %s", self)
        if self._keep_alive is not None:
            self._keep_alive.forget(self)
        if self.expiry is not None:
            self.expiry.stop()
        for timer in (self._timer, self._more, self._turn, self._retirement):
            if timer is not None:
                timer.cancel()
        self._news.wake()
        for stream in list(self.streams.values()):
            stream.fail(self.ended)
        self._places.offer()
        self.backlog.wake()
        if self._transport is not None:
            self._transport.abort() if abort else self._transport.close()

    # ---------------------------------------------------------------- events

    def _process(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            stream = self.streams[event.stream.id] = Stream(self, event.stream)
            stream.on_whole(event.block, event.data, None)
            if self._accept is not None:
                self._accept(stream)
            else:
                self._take(stream)
        elif isinstance(event, events.ResponseReceived):
            owner: Stream | None = event.stream.owner
            self.was_useful = True
            if owner is not None:
                owner.on_whole(event.head, event.data, event.tail)
        elif isinstance(event, events.DataReceived):
            owner = event.stream.owner
            if owner is not None and event.stream.id in self.streams:
                owner.on_data(event.data, event.size, event.ends)
            else:
                self.give_back(event.stream, event.size)
        elif isinstance(event, events.HeadersReceived):
            self._headers(event)
        else:
            self._process_rare(event)

    def _take(self, stream: Stream) -> None:
        """A new stream of the peer."""
        if self._accept is None:
            stream.reset(ErrorCode.REFUSED_STREAM)
            stream.release()
        else:
            self._accept(stream)

    def _headers(self, event: events.HeadersReceived) -> None:
        stream: Stream | None = event.stream.owner
        if event.opens:
            stream = self.streams[event.stream.id] = Stream(self, event.stream)
            stream.on_headers(event.block, event.ends)
            self._take(stream)
        elif stream is not None:  # else its owner has left, and nobody wants the trailers
            self.was_useful = True
            stream.on_headers(event.block, event.ends)

    def _process_rare(self, event: events.Event) -> None:
        match event:
            case events.StreamReset(stream=stream, code=code, by_peer=by_peer):
                if stream.owner is not None:
                    stream.owner.on_reset(code, by_peer=by_peer)
                self._places.offer()
            case events.WindowOpened(stream=None):
                self._progress()
            case events.WindowOpened(stream=stream) if stream is not None and stream.owner is not None:
                stream.owner.on_progress()
            case events.SettingsReceived():
                self._settings()
            case events.GoAwayReceived():
                self._goaway(event)
            case events.ConnectionFailed(reason=reason):
                self._end(self._explain(reason))
            case _:  # an answered PING: that something came is all that counts
                pass

    def _settings(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._news.wake()
            log.debug("= %s", self)
        self._progress()

    def _goaway(self, event: events.GoAwayReceived) -> None:
        log.debug("< GOAWAY %s from %s", ErrorCode.name_of(event.code), self.peer)
        self.goaway = event
        self._places.offer()
        for stream in list(self.streams.values()):
            if self.settings.client and stream.h2.id > event.last_stream_id:
                stream.fail(ConnectionEnded(self._goaway_text(), processed=False, is_calm_asked=self.is_calm_asked))
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        # A client has nothing more to do here; of a server's connection the client decides, unless it was retired.
        if self.streams:
            return
        if self.settings.client and self.goaway is not None:
            self._end("closed after the peer's GOAWAY")
        elif self.is_retiring and self._retirement is not None and self._retirement.when() <= self.loop.time():
            self._end("retired", ErrorCode.NO_ERROR)

    def _goaway_text(self) -> str:
        if self.goaway is None:
            return "the peer is going away"
        debug = quote(self.goaway.debug.decode("utf-8", "replace"))
        return f"the peer is going away: GOAWAY {ErrorCode.name_of(self.goaway.code)}" + (f", {debug}" if debug else "")

    def _progress(self) -> None:
        for stream in self.streams.values():
            stream.on_progress()
        self._places.offer()

    def _free_places(self) -> int:
        """Streams that may be opened now; without end when the connection has ended, so that nobody waits for it."""
        if self.ended is not None or self.goaway is not None:
            return LAST_STREAM_ID
        return 0 if self.is_paused else self.h2.free_streams

    # ---------------------------------------------------------------- timers

    def _watch(self) -> None:
        """See to it that what the peer has begun is completed in time."""
        if (when := self.h2.next_timer()) is not None:
            self._timer = self.loop.call_at(when, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        for event in self.h2.handle_timer(self.loop.time()):
            self._process(event)
        if self.ended is None:
            self._watch()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.h2.ping(b"orbitlit")
        self.flush()

    def give_up(self, reason: str) -> None:
        """Drop a connection whose peer gives none."""
        self._end(reason, abort=True)

    def _explain(self, reason: str) -> str:
        return f"the peer broke the HTTP/2 protocol: {quote(reason)}" if self.h2.is_ready else reason


@lru_cache(8)
def _of_clients(limit: int, most: int) -> HeaderMemory:
    """What all clients know of header blocks, in whatever threads: single steps on dictionaries, and no harm in any
    order of them."""
    return HeaderMemory(limit, most)


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
