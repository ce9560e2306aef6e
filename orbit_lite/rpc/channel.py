"""A channel: one server, one connection at a time, dialled when first needed and again after a loss.

Its `request` has grpclib's shape, so betterproto's stubs run on it. Several connections to one server, retry and
back-off are the pool's work.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl as tls
import sys
import warnings
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

from orbit_lite.errors import ConnectError, OrbitError
from orbit_lite.http2.config import Http2Config
from orbit_lite.rpc.call import RequestHeads
from orbit_lite.rpc.client import ClientCall
from orbit_lite.rpc.config import SHORTEST_KEEP_ALIVE, TransportConfig, check_compression
from orbit_lite.rpc.connection import Connection, ConnectionSettings
from orbit_lite.rpc.deadline import Deadline
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.metadata import NOTHING, Headers, Metadata, MetadataLike, as_metadata
from orbit_lite.rpc.method import Cardinality, method_of
from orbit_lite.rpc.redial import INITIAL, backoff
from orbit_lite.rpc.stream import ConnectionEnded, Stream
from orbit_lite.rpc.timers import Timers
from orbit_lite.rpc.unary import UnaryMethods, reply_of

__all__ = ["Channel"]

log = logging.getLogger("orbit_lite.rpc")

Q = TypeVar("Q")
R = TypeVar("R")

# Form: grpc/doc/PROTOCOL-HTTP2.md, `User-Agent`. The version is looked up, not imported: the package's top is above us.
USER_AGENT = (
    f"grpc-python-orbit-lite/{sys.modules['orbit_lite'].__version__} "
    f"({sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))})"
)
#: Seconds between trying one address of a name and trying the next beside it (RFC 8305 §5).
ATTEMPT_DELAY = 0.25
#: Seconds that a peer has to take what is still buffered when the channel closes.
CLOSE_GRACE = 1.0
DEFAULT_KEEP_ALIVE_TIMEOUT = 20.0


class Channel:
    """Calls to one server. Use it as `async with Channel(host, port) as channel`, or `close` it in the end.

    host, port: by default 127.0.0.1 and 50051. path: a Unix socket instead. ssl: True for the system's certificate
    authorities, or a context (which is set to negotiate h2). compression: "gzip" for requests, which Orbit-RS does not
    take; compressed replies are always taken. wait_for_ready: calls wait for a server that cannot be reached, as long
    as their deadline allows. interceptors: around every call, the first one outermost. redial_initial: seconds after
    which an address that could not be reached is tried again; it grows to two minutes, and until then calls fail at
    once.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        path: str | None = None,
        ssl: tls.SSLContext | bool | None = None,
        config: TransportConfig | None = None,
        compression: str | None = None,
        wait_for_ready: bool = False,
        interceptors: Sequence[Interceptor] = (),
        redial_initial: float = INITIAL,
    ) -> None:
        if path is not None and (host is not None or port is not None):
            raise ValueError("path: a channel has either a path or a host and port")
        self.config = config or TransportConfig()
        if path is not None:
            self.endpoint = Endpoint(None, None, path=path, tls=bool(ssl))
        else:
            self.endpoint = Endpoint(host or "127.0.0.1", 50051 if port is None else port, tls=bool(ssl))
        self._ssl = _client_context(ssl)
        self.interceptors = tuple(interceptors)
        self.wait_for_ready = wait_for_ready
        self._connection: Connection | None = None
        #: Connections made so far. As long as it stays the same, all answers come from the same peer.
        self.connections_made = 0
        self._redial_initial = redial_initial
        self._delays = backoff(initial=redial_initial)
        self._next_dial = 0.0  # by the loop's time; after a failure
        self._last_failure = ""
        self._connections: set[Connection] = set()
        self._dialling: asyncio.Task[Connection] | None = None
        self._closed = False
        self._open_calls = 0
        self._keep_alive = self.config.keep_alive_interval
        self._timers: Timers | None = None
        self._heads = RequestHeads(
            "https" if self.endpoint.tls else "http",
            self.endpoint.authority,
            USER_AGENT,
            packed=check_compression(compression) is not None,
        )
        #: The head of a request; an attribute, since every call asks for one.
        self.request_headers = self._heads.request
        self._unary = UnaryMethods(self.config.max_message_size, packed=self._heads.packed)

    @classmethod
    def from_url(cls, url: str, *, config: TransportConfig | None = None, ssl: tls.SSLContext | None = None) -> Channel:
        """A channel to `http://`, `https://`, `grpc://`, `grpcs://`, `unix:` or bare `host:port`. Raises ParseError."""
        endpoint = Endpoint.parse(url)
        context = (ssl or True) if endpoint.tls else None
        if endpoint.path is not None:
            return cls(path=endpoint.path, config=config)
        return cls(endpoint.host, endpoint.port, ssl=context, config=config)

    # ---------------------------------------------------------------- calls

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Q],
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> ClientCall[Q, R]:
        """A call of the method `name`, `/package.Service/Method`. Nothing is sent before it is entered and used.

        timeout: seconds; deadline: a Deadline, or grpclib's. The earlier one counts; a unary call without either has
        the configuration's request_timeout; the deadline of the handler that calls is never exceeded. Raises
        MetadataError (a ValueError) for metadata that cannot be sent.
        """
        method = method_of(name, cardinality, request_type, reply_type)
        pairs = as_metadata(metadata)
        if timeout is None and deadline is None and method.is_unary:
            timeout = self.config.request_timeout
        call: ClientCall[Q, R] = ClientCall(self, method, pairs, Deadline.for_call(timeout, deadline))
        if self.wait_for_ready:
            call.wait_for_ready = True
        return call

    def unary_unary(
        self,
        name: str,
        request: object,
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> Coroutine[Any, Any, R]:
        """The reply of a unary call; arguments and errors are those of `request` and its call. Stubs come here."""
        if deadline is not None:
            left = Deadline.of(deadline).remaining()
            timeout = left if timeout is None else min(timeout, left)
        elif timeout is None:
            timeout = self.config.request_timeout
        method = self._unary.of(name, type(request), reply_type)
        return reply_of(self, method, request, timeout, NOTHING if metadata is None else as_metadata(metadata))

    def open_at_once(self, headers: Headers, data: bytes) -> Stream | None:
        """For calls: a stream with a whole request on it, unless something makes it wait: then use `open_stream`."""
        connection = self._connection
        return None if connection is None else connection.open_at_once(headers, data)

    async def open_stream(self, headers: Callable[[], Headers], *, end: bool) -> Stream:
        """For calls: a stream on a live connection, dialling if need be. Raises ConnectError and ConnectionEnded."""
        connection = self._connection
        if connection is None or not connection.is_open:
            wait = self._next_dial - asyncio.get_running_loop().time()
            if wait > 0 and self._dialling is None and not self._closed:
                raise ConnectError(f"{self._last_failure}; it is tried again in {wait:.1f} s", peer=self.peer_name)
            connection = await self._connect()
        return await connection.open_stream(headers, end=end)

    # ---------------------------------------------------------------- state

    @property
    def is_connected(self) -> bool:
        """Whether there is a live connection that takes new calls."""
        return self._connection is not None and self._connection.is_open

    @property
    def open_streams(self) -> int:
        """Calls that have been entered and not left."""
        return self._open_calls

    @property
    def stream_limit(self) -> int | None:
        """Calls that the peer lets run at once on the connection; None while there is no connection."""
        connection = self._connection
        return connection.h2.peer.max_concurrent_streams if connection and connection.is_open else None

    @property
    def keep_alive_interval(self) -> float | None:
        """Seconds of silence before a PING: as configured, or more once the server has complained; None = never."""
        return self._keep_alive

    @property
    def peer_name(self) -> str:
        """How errors name the server."""
        return self.endpoint.url

    @property
    def max_message_size(self) -> int:
        """Bytes, both ways."""
        return self.config.max_message_size

    @property
    def packed(self) -> bool:
        """Whether requests are compressed."""
        return self._heads.packed

    def timers(self) -> Timers:
        """What watches over the deadlines of calls; belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        if self._timers is None or self._timers.loop is not loop:
            self._timers = Timers(loop)
        return self._timers

    def call_started(self) -> None:
        """A call was entered."""
        self._open_calls += 1

    def call_ended(self) -> None:
        """A call was left."""
        self._open_calls -= 1

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self.is_connected else "idle"
        return f"<Channel {self.endpoint} {state}, {self._open_calls} calls>"

    # ---------------------------------------------------------------- connecting

    async def connect(self) -> None:
        """Dial now, if there is no live connection. Raises ConnectError, after connect_timeout at the latest."""
        if not self.is_connected:
            await self._connect()

    async def _connect(self) -> Connection:
        """One dial for all who wait for it; it goes on when one of them gives up."""
        if self._closed:
            raise self._closed_error()
        if self._dialling is None:
            # In a context of its own: the connection outlives the call that happens to be the first.
            self._dialling = asyncio.create_task(self._dial(), name=f"dial {self.endpoint}", context=Context())
            self._dialling.add_done_callback(self._dialled)
        dialling = self._dialling
        await asyncio.wait([dialling])  # cancelling this waits no more, but leaves the dial to the others
        if dialling.cancelled():
            raise self._closed_error()
        if isinstance(failure := dialling.exception(), ConnectError):
            raise ConnectError(failure.message, peer=self.peer_name) from failure  # each waiter's own, to fill in
        return dialling.result()

    def _closed_error(self) -> ConnectError:
        return ConnectError("the channel is closed", peer=self.peer_name, retryable=False)

    def _dialled(self, task: asyncio.Task[Connection]) -> None:
        self._dialling = None
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            return
        log.debug("dial of %s failed: %s", self.endpoint, error)
        self._has_failed(error.message if isinstance(error, OrbitError) else "cannot connect")

    def _has_failed(self, reason: str) -> None:
        """A connection could not be made, or was of no use: wait before the next."""
        self._last_failure = reason
        self._next_dial = asyncio.get_running_loop().time() + next(self._delays)

    async def _dial(self) -> Connection:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                connection = await self._open_transport()
                await connection.wait_ready()
        except TimeoutError as error:
            problem = f"no answer within {self.config.connect_timeout:g} s"
            raise ConnectError(f"cannot connect: {problem}", peer=self.peer_name) from error
        except (OSError, ConnectionEnded) as error:  # ssl.SSLError is an OSError
            text = str(error) or type(error).__name__
            raise ConnectError(f"cannot connect: {text}", peer=self.peer_name) from error
        finally:
            if connection is not None and not connection.is_open:
                connection.abort()
        self._connection = connection
        self.connections_made += 1
        return connection

    async def _open_transport(self) -> Connection:
        loop, endpoint = asyncio.get_running_loop(), self.endpoint
        if endpoint.host is None or endpoint.port is None:
            name = "localhost" if self._ssl is not None else None
            _, connection = await loop.create_unix_connection(
                self._make, endpoint.path, ssl=self._ssl, server_hostname=name
            )
        else:
            delay = None if _is_address(endpoint.host) else ATTEMPT_DELAY
            _, connection = await loop.create_connection(
                self._make, endpoint.host, endpoint.port, ssl=self._ssl, happy_eyeballs_delay=delay
            )
        return connection

    def _make(self) -> Connection:
        settings = ConnectionSettings(
            client=True,
            http2=Http2Config(adaptive_window=self.config.http2_adaptive_window),
            keep_alive_interval=self._keep_alive,
            keep_alive_timeout=self.config.keep_alive_timeout or DEFAULT_KEEP_ALIVE_TIMEOUT,
            tcp_keepalive=self.config.tcp_keepalive,
        )
        return Connection(settings, on_start=self._connections.add, on_end=self._ended)

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection is self._connection and connection.is_calm_asked and not connection.was_useful:
            self._has_failed(connection.ended.reason if connection.ended is not None else "the connection was lost")
        elif connection.was_useful:
            self._delays = backoff(initial=self._redial_initial)
        if connection.was_too_chatty and self._keep_alive is not None:
            # gRFC A8: who is told "too_many_pings" doubles its interval.
            self._keep_alive = max(2 * self._keep_alive, SHORTEST_KEEP_ALIVE)
            log.warning("%s asks for fewer PINGs: interval is now %g s", self.endpoint, self._keep_alive)

    # ---------------------------------------------------------------- closing

    def close(self) -> None:
        """End the connection; calls that run fail with Cancelled, later ones with ConnectError."""
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
        for connection in list(self._connections):
            connection.close("the channel was closed")

    async def wait_closed(self) -> None:
        """Until nothing of the channel is left, at most about a second after `close`."""
        if self._dialling is not None:
            await asyncio.wait([self._dialling])
        for connection in list(self._connections):
            try:
                async with asyncio.timeout(CLOSE_GRACE):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()
                await connection.wait_closed()

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    def __del__(self) -> None:
        if getattr(self, "_connections", None):
            warnings.warn(f"channel to {self.endpoint} was not closed", ResourceWarning, source=self, stacklevel=1)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _client_context(ssl: tls.SSLContext | bool | None) -> tls.SSLContext | None:
    if not ssl:
        return None
    if isinstance(ssl, tls.SSLContext):
        context = ssl
    else:
        context = tls.create_default_context(tls.Purpose.SERVER_AUTH)  # honours SSL_CERT_FILE and SSL_CERT_DIR
        context.minimum_version = tls.TLSVersion.TLSv1_2  # RFC 9113 §9.2
    context.set_alpn_protocols(["h2"])
    return context
