"""A gRPC server: listens, runs a task per call, drains, stops.

Handlers are anything with `__mapping__()`, as grpclib and betterproto generate them: a handler function is given a
`ServerCall`. A method is looked up by its exact path; nothing is ever derived from what a peer names.

However a handler behaves, the server goes on: its exception becomes a status, its deadline and its caller's
cancellation cancel it, and one that does not end when cancelled is named in the log and no longer waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import ssl as tls
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Protocol

from orbit_lite.errors import ConfigurationError, IoError, Status
from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.fields import HeaderBlock, HeaderMemory
from orbit_lite.rpc.call import (
    OK,
    RESPONSE_HEAD,
    HttpRefusal,
    RequestHead,
    StatusRefusal,
    read_request,
    trailer_headers,
)
from orbit_lite.rpc.config import ServerConfig
from orbit_lite.rpc.connection import Connection, ConnectionSettings
from orbit_lite.rpc.context import CallContext, enter_call
from orbit_lite.rpc.eager import ParkedTask
from orbit_lite.rpc.errors import EXECUTED_METADATA, StatusReply
from orbit_lite.rpc.failures import status_of
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.keepalive import KeepAlive
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.method import Cardinality, Method, wrapped_method
from orbit_lite.rpc.serving import ServedMethod, ServerCall
from orbit_lite.rpc.stream import ConnectionEnded, Stream, StreamReset
from orbit_lite.rpc.timers import Timers
from orbit_lite.rpc.upkeep import Upkeep
from orbit_lite.telemetry.metrics import OTHER_METHOD, CallStats

__all__ = ["DrainResult", "Server"]

log = logging.getLogger("orbit_lite.rpc")

#: Seconds that a peer has to take what is still buffered when the server stops.
CLOSE_GRACE = 1.0
BACKLOG = 1024
_NOT_EXECUTED = ((EXECUTED_METADATA, "no"),)


class Handler(Protocol):
    """What `__mapping__` says of one method; grpclib.const.Handler fits."""

    @property
    def func(self) -> Callable[[Any], Awaitable[None]]: ...
    @property
    def cardinality(self) -> Cardinality: ...
    @property
    def request_type(self) -> type: ...
    @property
    def reply_type(self) -> type: ...


class Servable(Protocol):
    """A service: methods by path."""

    def __mapping__(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class DrainResult:
    """How the calls ended that ran when the drain began: by themselves, or cancelled when the grace was over."""

    finished: int
    cancelled: int


@dataclass(slots=True)
class _Route:
    method: Method
    func: Callable[[ServerCall[Any, Any]], Awaitable[None]]
    direct: Callable[[Any], Awaitable[Any]] | None = None
    served: ServedMethod | None = None  # once it was called


class Server:
    """Serves `handlers`. Use it as `async with Server(handlers) as server: await server.start(…)`."""

    def __init__(
        self,
        handlers: Iterable[Servable],
        *,
        config: ServerConfig | None = None,
        guard: Callable[[CallContext], None] | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        """Raises ConfigurationError when two handlers serve the same method.

        guard: asked before each handler, with the registered path and never the peer's spelling of it; what it raises
        is the answer, and the handler does not run. interceptors: around every handler, the first one outermost.
        """
        self.config = config or ServerConfig()
        self._guard = guard
        self._interceptors = tuple(interceptors)
        self._http2 = dataclasses.replace(
            self.config.http2 or Http2Config(),
            max_concurrent_streams=self.config.max_concurrent_streams,
            preface_timeout=self.config.handshake_timeout,
        )
        self.stats = CallStats()
        self._routes: dict[str, _Route] = {}
        for servable in handlers:
            self._add(servable.__mapping__())
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[str] = []
        self._connections: set[Connection] = set()
        self._make: Callable[[], Connection] | None = None
        self._calls: dict[asyncio.Task[None], ServerCall[Any, Any]] = {}
        self._draining = False
        self._closing = False
        self._closed = asyncio.Event()
        self._wheel: Timers | None = None
        self._max_size = self.config.max_message_size
        self._packed = self.config.compression is not None
        self._upkeep = Upkeep(self.config)
        self._look: asyncio.TimerHandle | None = None
        self._parked: ParkedTask | None = None

    def _add(self, mapping: Mapping[str, Handler]) -> None:
        for path, handler in mapping.items():
            if path in self._routes:
                raise ConfigurationError(f"method {path} is served by two handlers")
            method = Method.of(path, handler.cardinality, handler.request_type, handler.reply_type)
            self._routes[path] = _Route(method, handler.func, wrapped_method(handler.func) if method.is_unary else None)

    # ---------------------------------------------------------------- state

    @property
    def methods(self) -> tuple[str, ...]:
        """Paths of the methods served."""
        return tuple(self._routes)

    @property
    def in_flight(self) -> int:
        """Calls whose handler has not ended."""
        return len(self._calls)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the server listens: `host:port` and `unix:path`."""
        found = []
        for listener in self._listeners:
            for bound in listener.sockets:
                name = bound.getsockname()
                if bound.family == socket.AF_INET:
                    found.append(f"{name[0]}:{name[1]}")
                elif bound.family == socket.AF_INET6:
                    found.append(f"[{name[0]}]:{name[1]}")
                else:
                    found.append(f"unix:{name}")
        return tuple(found)

    @property
    def port(self) -> int | None:
        """Port of the first TCP listener."""
        for listener in self._listeners:
            for bound in listener.sockets:
                if bound.family in (socket.AF_INET, socket.AF_INET6):
                    port: int = bound.getsockname()[1]
                    return port
        return None

    def __repr__(self) -> str:
        state = "closed" if self._closing else "draining" if self._draining else "serving"
        return f"<Server {', '.join(self.addresses)} {state}, {self.connections} connections, {self.in_flight} calls>"

    # ---------------------------------------------------------------- listening

    async def start(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        path: str | None = None,
        ssl: tls.SSLContext | None = None,
        sock: socket.socket | None = None,
        reuse_port: bool | None = None,
    ) -> None:
        """Listen on host and port (None = all interfaces; 0 = a free port), on a Unix socket, or on `sock`.

        May be called again for further addresses. ssl: a context, which is set to negotiate h2. Raises IoError when
        the address cannot be had.
        """
        if self._closing:
            raise ConfigurationError("the server was closed; make a new one")
        loop = asyncio.get_running_loop()
        make = self._make = self._make or self._maker()
        options: dict[str, Any] = {"ssl": ssl, "backlog": BACKLOG}
        if ssl is not None:
            ssl.set_alpn_protocols(["h2"])
            options["ssl_handshake_timeout"] = self.config.handshake_timeout
        try:
            if path is not None:
                listener = await loop.create_unix_server(make, path, **options)
                self._sockets.append(path)
            elif sock is not None:
                listener = await loop.create_server(make, sock=sock, **options)
            else:
                listener = await loop.create_server(make, host, port, reuse_port=reuse_port, **options)
        except OSError as error:
            where = path or f"{host or '*'}:{port}"
            raise IoError(f"cannot listen on {where}: {error.strerror or error}") from error
        self._listeners.append(listener)

    def _maker(self) -> Callable[[], Connection]:
        """Makes connections, which share what does not differ between them."""
        config, http2 = self.config, self._http2
        settings = ConnectionSettings(
            client=False,
            http2=http2,
            keep_alive_interval=config.keep_alive_interval,
            keep_alive_timeout=config.keep_alive_timeout,
            tcp_keepalive=config.tcp_keepalive,
            stall_timeout=config.stall_timeout,
        )
        keep_alive = None
        if (interval := config.keep_alive_interval) is not None:
            loop = asyncio.get_running_loop()
            keep_alive = KeepAlive(loop, interval=interval, timeout=config.keep_alive_timeout)
        return partial(
            Connection,
            settings,
            accept=self._accept,
            on_start=self._started,
            on_end=self._connections.discard,
            keep_alive=keep_alive,
            memory=HeaderMemory(http2.max_header_list_size, http2.max_header_fields),
        )

    def _started(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._upkeep.make_room(self._connections, connection, len(self._connections))
        if self._look is None:
            self._look_again()
        if self._closing:  # it was in its TLS handshake meanwhile
            connection.close("the server was closed")
        elif self._draining:
            connection.go_away(final=False)

    def _look_again(self) -> None:
        """Keep an eye on idle and old connections while there are any."""
        self._look = None
        loop = asyncio.get_running_loop()
        self._upkeep.look(self._connections, loop.time())
        interval = self._upkeep.interval
        if interval is not None and self._connections and not self._closing:
            self._look = loop.call_later(interval, self._look_again)

    # ---------------------------------------------------------------- calls

    def _accept(self, stream: Stream) -> None:
        """A request's head has come: refuse it, or start its handler."""
        block: HeaderBlock = stream.head  # type: ignore[assignment]  # it has come
        try:
            head: RequestHead = block.memo or read_request(block, self._routes)
        except HttpRefusal as refusal:
            self._refuse(stream, ((":status", str(refusal.status)), ("content-type", "text/plain")))
        except StatusRefusal as refusal:
            self._refuse_with(stream, StatusReply(refusal.status, str(refusal)))
        else:
            if self._draining or self._closing:
                self._refuse_with(stream, StatusReply(Status.UNAVAILABLE, "draining", (), _NOT_EXECUTED))
            elif head.timeout == 0.0:
                self._refuse_with(stream, StatusReply(Status.DEADLINE_EXCEEDED, "no time was given"))
            else:
                self._start(stream, head)

    def _refuse_with(self, stream: Stream, reply: StatusReply) -> None:
        self.stats.record(OTHER_METHOD, 0.0, error=True)
        self._refuse(stream, RESPONSE_HEAD + trailer_headers(reply))

    def _refuse(self, stream: Stream, headers: Headers) -> None:
        try:
            stream.send_headers(headers, end=True)
            stream.reset(ErrorCode.NO_ERROR)
        except (StreamReset, ConnectionEnded):
            log.debug("%s left before its refusal", stream.peer)
        finally:
            stream.release()

    def _start(self, stream: Stream, head: RequestHead) -> None:
        """Run the handler: its first step here and now, if its request is complete, the rest in a task of its own."""
        route = self._routes[head.path]
        served = route.served
        if served is None:
            served = route.served = ServedMethod(route.method, self._max_size, packed=self._packed)
        call: ServerCall[Any, Any] = ServerCall(stream, served, head, self._cancel_call)
        parked = self._parked
        if stream.receive_ended and parked is not None and parked.enter():
            call.task = parked.task
            self._calls[parked.task] = call
            if parked.run(self._serve(call, route)):
                return
            parked = None
        else:
            call.task = task = stream.loop.create_task(self._serve(call, route))
            self._calls[task] = call
        if self._closing:  # by this handler, just now: nobody would end another parked task
            self._parked = None
        elif parked is None or parked.task.done():
            self._parked = ParkedTask(stream.loop)
        if (deadline := call.deadline) is not None and not call.is_over:
            wheel = self._wheel
            if wheel is None:
                wheel = self._wheel = Timers(stream.loop)
            call.timer = wheel.start(deadline.at, call.expire)

    async def _serve(self, call: ServerCall[Any, Any], route: _Route) -> None:
        """Run a call's handler, and end the call by what becomes of it."""
        call.has_begun = True
        try:
            enter_call(call)
            if self._guard is not None:
                self._guard(call.context)
            if self._interceptors:
                await self._intercepted(call, route)
            elif route.direct is not None:  # as `answer_with`, without a coroutine of its own
                request = call.take_request()
                reply = await route.direct(await call.recv_message() if request is None else request)
                if not call.hold(reply):
                    await call.send_message(reply)
            else:
                await route.func(call)
            if not call.finish_at_once():
                await call.flush_reply()
                call.finish(call.ok())
        except asyncio.CancelledError:
            # By the server itself the call is over already; else something that the handler awaited was cancelled.
            call.finish(StatusReply(Status.CANCELLED, "cancelled in the handler"))
        except (KeyboardInterrupt, SystemExit):
            call.finish(StatusReply(Status.UNAVAILABLE, "the server is stopping"))
            raise
        except BaseException as error:  # noqa: BLE001  # status_of logs what it does not pass on
            if not call.is_over:
                call.finish(status_of(error))
            else:
                log.debug("handler of %s ended with %r after its call was over", call.method.path, error)
        finally:
            self._ended(call)

    async def _intercepted(self, call: ServerCall[Any, Any], route: _Route) -> None:
        async with contextlib.AsyncExitStack() as around:
            for interceptor in self._interceptors:
                await around.enter_async_context(interceptor(call))
            await route.func(call)

    def _ended(self, call: ServerCall[Any, Any]) -> None:
        if call.task is None:
            return
        del self._calls[call.task]
        call.task = None  # its context refers to the call: a cycle, which would be left to the garbage collector
        if call.timer is not None:
            call.timer.cancel()
        call.release()
        failed = call.status is not OK and not (call.is_abandoned and call.may_be_left)
        self.stats.record(call.method.path, monotonic() - call.started, error=failed)

    def _cancel_call(self, call: ServerCall[Any, Any]) -> None:
        """Cancel a handler, also one that has not begun: such a task never takes its first step."""
        if call.task is None:
            return
        call.task.cancel()
        if not call.has_begun:
            call.finish(StatusReply(Status.CANCELLED, "cancelled before the handler began"))
            self._ended(call)

    # ---------------------------------------------------------------- stopping

    async def drain(self, grace: float) -> DrainResult:
        """Take no new calls, let those that run finish for `grace` seconds, then cancel the rest.

        Clients are told by GOAWAY to go elsewhere; calls that reach us nevertheless get UNAVAILABLE "draining" and the
        word that they were not executed. Connections stay open until `close`.
        """
        self._draining = True
        self._stop_listening()
        for connection in list(self._connections):
            connection.go_away(final=False)
        running = set(self._calls)
        if running:
            _, late = await asyncio.wait(running, timeout=grace)
        else:
            late = set()
        await self._cancel(late, "the server is shutting down")
        for connection in list(self._connections):
            connection.go_away(final=True)
        return DrainResult(len(running) - len(late), len(late))

    def close(self) -> None:
        """Stop at once: calls that run end with UNAVAILABLE, their handlers are cancelled, connections are closed."""
        if self._closing:
            return
        self._closing = True
        if self._look is not None:
            self._look.cancel()
        self._stop_listening()
        self._end_calls(list(self._calls), "the server is shutting down")
        for connection in list(self._connections):
            connection.close("the server was closed")
        if self._parked is not None and self._parked.task not in self._calls:
            self._parked.task.cancel()
        self._closed.set()

    async def wait_closed(self) -> None:
        """Until everything of the server has ended; not longer than cancel_grace and about a second after `close`."""
        await self._closed.wait()
        await self._wait_for(set(self._calls))
        if self._parked is not None:
            await asyncio.wait([self._parked.task])
        if self._connections:
            waits = [asyncio.ensure_future(connection.wait_closed()) for connection in self._connections]
            await asyncio.wait(waits, timeout=CLOSE_GRACE)
            for connection in list(self._connections):
                connection.abort()
            await asyncio.wait(waits)
        for listener in self._listeners:
            # Since Python 3.12 this waits for TLS handshakes too, which we cannot end.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.wait_closed(), CLOSE_GRACE)

    async def serve_forever(self) -> None:
        """Until `close` was called and has been carried out; being cancelled closes the server."""
        try:
            await self._closed.wait()
        finally:
            self.close()
            await self.wait_closed()

    def _stop_listening(self) -> None:
        """Accept nobody more. Who was accepted in this turn of the loop becomes a connection in the next one.

        Not so once the listener is closed: asyncio fails an assertion then and forgets the socket, and the peer waits.
        """
        for listener in self._listeners:
            with contextlib.suppress(NotImplementedError):  # no selector waits for these sockets: nothing to take back
                for bound in listener.sockets:
                    listener.get_loop().remove_reader(bound)
            listener.get_loop().call_soon(listener.close)
        for path in self._sockets:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._sockets.clear()

    async def _cancel(self, tasks: Iterable[asyncio.Task[None]], reason: str) -> None:
        tasks = set(tasks)
        self._end_calls(tasks, reason)
        await self._wait_for(tasks)

    def _end_calls(self, tasks: Iterable[asyncio.Task[None]], reason: str) -> None:
        for task in tasks:
            if (call := self._calls.get(task)) is not None:
                call.finish(StatusReply(Status.UNAVAILABLE, reason))
                self._cancel_call(call)

    async def _wait_for(self, tasks: set[asyncio.Task[None]]) -> None:
        """Until cancelled handlers have cleaned up, or for cancel_grace."""
        if not tasks:
            return
        _, stuck = await asyncio.wait(tasks, timeout=self.config.cancel_grace)
        for task in stuck:
            log.warning("handler of %s did not end when cancelled", self._calls[task].method.path)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()
