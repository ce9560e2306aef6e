"""A channel for code without an event loop: scripts, threads, hosts that know nothing of asyncio.

Each `BlockingChannel` has one event loop in one thread of its own, begun by the first call and ended by `close`.
Nothing else is started but, for each call with both streams, a thread that iterates the requests while the caller
iterates the replies. The caller's context goes with each call, so that `deadline_scope` works as it does with asyncio.

What would be a surprise is refused with a ConfigurationError: use by a coroutine, whose event loop would stand still,
and use in a forked child, where the thread is missing.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import logging
import os
import ssl as tls
import threading
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from types import MethodType, TracebackType
from typing import Any, Concatenate, Generic, TypeVar, cast, overload

from orbit_lite.errors import ConfigurationError, ConnectError, Executed
from orbit_lite.rpc.channel import Channel
from orbit_lite.rpc.client import ClientCall
from orbit_lite.rpc.config import TransportConfig
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.errors import Cancelled
from orbit_lite.rpc.handover import PATIENCE, Inbox, Outbox
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.metadata import Metadata, MetadataLike

__all__ = ["BlockingChannel", "BlockingStub", "Replies"]

log = logging.getLogger("orbit_lite.rpc")

Q = TypeVar("Q")
R = TypeVar("R")


class BlockingChannel:
    """Calls to one server, which block the thread that makes them. Any number of threads may call at once.

    Use it as `with BlockingChannel(host, port) as channel`, or `close` it in the end. The arguments, and the errors of
    calls, are those of `Channel`.
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
    ) -> None:
        self._channel = Channel(
            host,
            port,
            path=path,
            ssl=ssl,
            config=config,
            compression=compression,
            wait_for_ready=wait_for_ready,
            interceptors=interceptors,
        )
        self._loop = _LoopThread(self._channel)

    @classmethod
    def from_url(
        cls, url: str, *, config: TransportConfig | None = None, ssl: tls.SSLContext | None = None
    ) -> BlockingChannel:
        """A channel to an address in any of the forms of `Channel.from_url`. Raises ParseError."""
        endpoint = Endpoint.parse(url)
        context = (ssl or True) if endpoint.tls else None
        if endpoint.path is not None:
            return cls(path=endpoint.path, config=config)
        return cls(endpoint.host, endpoint.port, ssl=context, config=config)

    @property
    def endpoint(self) -> Endpoint:
        """Where the calls go."""
        return self._channel.endpoint

    # ---------------------------------------------------------------- calls

    def stub(
        self,
        kind: Callable[..., object],
        *,
        timeout: float | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> BlockingStub:
        """A generated stub whose methods block: `channel.stub(HealthStub).check(HealthCheckRequest(), timeout=2.0)`.

        timeout (seconds) and metadata are those of its calls that are made without.
        """
        return BlockingStub(self, kind(self, timeout=timeout, metadata=metadata))

    @overload
    def call(
        self,
        method: Callable[Concatenate[Q, ...], Coroutine[Any, Any, R]],
        request: Q,
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> R: ...
    @overload
    def call(
        self,
        method: Callable[Concatenate[Q, ...], AsyncIterator[R]],
        request: Q,
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> Replies[R]: ...
    def call(
        self,
        method: Callable[..., Any],
        request: object,
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> object:
        """Call a method of a generated stub made on this channel: `channel.call(HealthStub(channel).check, request)`.

        The same as `stub`, and clear to type checkers. A method with one reply returns it; one with a stream of
        replies returns an iterator. A request stream is any iterable: with one reply it is iterated by the calling
        thread, else by a thread of the call.
        """
        stub: Any = method.__self__ if isinstance(method, MethodType) else None
        if getattr(stub, "channel", None) is not self:
            raise ConfigurationError(f"{method!r} is no method of a stub that was made on this channel")
        if isinstance(request, AsyncIterable):
            raise ConfigurationError("requests: an asynchronous iterable cannot be used here; give a plain one")
        watched = _Watched(self._channel)
        twin = type(stub)(
            watched,
            timeout=stub.timeout,
            deadline=stub.deadline,
            metadata=stub.metadata,
        )
        begin = functools.partial(getattr(twin, method.__name__), timeout=timeout, deadline=deadline, metadata=metadata)
        loop = self._loop.ready()
        if inspect.isasyncgenfunction(method):
            return self._call_for_many(loop, begin, request, watched)
        if isinstance(request, Iterable):
            return self._send_many(loop, begin, request)
        return _result(self._loop.submit(lambda: begin(request)))

    def _send_many(
        self, loop: asyncio.AbstractEventLoop, begin: Callable[..., Coroutine[Any, Any, R]], requests: Iterable[object]
    ) -> R:
        """A request stream for one reply: iterated here, where its errors and Ctrl-C belong."""
        inbox: Inbox[object] = Inbox(loop)
        future = self._loop.submit(lambda: begin(inbox))
        future.add_done_callback(lambda _: inbox.close())
        try:
            _feed(requests, inbox)
        except BaseException:
            future.cancel()
            raise
        return _result(future)

    def _call_for_many(
        self,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[..., AsyncGenerator[R, None]],
        request: object,
        watched: _Watched,
    ) -> Replies[R]:
        outbox: Outbox[R] = Outbox(loop)
        inbox: Inbox[object] | None = Inbox(loop) if isinstance(request, Iterable) else None
        future = self._loop.submit(lambda: _pump(begin(request if inbox is None else inbox), outbox, watched))

        def done(future: concurrent.futures.Future[None]) -> None:
            outbox.finish(_closed() if future.cancelled() else future.exception())
            if inbox is not None:
                inbox.close()

        future.add_done_callback(done)
        if inbox is not None:
            feed = functools.partial(_feed_beside, cast(Iterable[object], request), inbox, outbox, future)
            name = f"{threading.current_thread().name} requests"
            threading.Thread(target=contextvars.copy_context().run, args=(feed,), name=name, daemon=True).start()
        return Replies(outbox, future, watched)

    def request(self, *args: object, **options: object) -> ClientCall[Any, Any]:
        """Not for use: stubs made directly on this channel are for `call`, and cannot be awaited."""
        raise ConfigurationError("a blocking channel cannot be awaited: use channel.stub(…) or channel.call(…)")

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """End the connection, the event loop and its thread. Calls that run fail with Cancelled, later ones as closed.

        Waits for the thread, about a second at most. In a forked child there is nothing to close.
        """
        self._loop.close()

    def __enter__(self) -> BlockingChannel:
        _refuse_coroutines()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None and loop.is_running:
            warnings.warn(
                f"blocking channel to {self.endpoint} was not closed", ResourceWarning, source=self, stacklevel=1
            )
            loop.stop()

    def __repr__(self) -> str:
        return f"<Blocking{repr(self._channel)[1:]}"


class BlockingStub:
    """The methods of a generated stub, by the same names, as methods that block. See `BlockingChannel.call`."""

    def __init__(self, channel: BlockingChannel, stub: object) -> None:
        self._channel = channel
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._stub, name)
        if not inspect.iscoroutinefunction(method) and not inspect.isasyncgenfunction(method):
            raise AttributeError(f"{type(self._stub).__name__} has no method {name}")
        return functools.partial(self._channel.call, method)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._stub) if not name.startswith("_")]

    def __repr__(self) -> str:
        return f"<blocking {type(self._stub).__name__} on {self._channel!r}>"


class Replies(Iterator[R], Generic[R]):
    """The replies of a call, as they come; for one thread at a time. A few are read ahead.

    Raises the call's error in their place. `close`, leaving a `with` block or dropping the iterator cancels the call.
    """

    def __init__(self, outbox: Outbox[R], future: concurrent.futures.Future[None], watched: _Watched) -> None:
        self._outbox = outbox
        self._future = future
        self._watched = watched
        self._pid = os.getpid()

    @property
    def initial_metadata(self) -> Metadata | None:
        """What came before the first reply; None until then."""
        return None if self._watched.call is None else self._watched.call.initial_metadata

    @property
    def trailing_metadata(self) -> Metadata | None:
        """What came with the end; None until then."""
        return None if self._watched.call is None else self._watched.call.trailing_metadata

    def __iter__(self) -> Replies[R]:
        return self

    def __next__(self) -> R:
        _refuse_coroutines()
        _refuse_fork(self._pid)
        try:
            return self._outbox.get()
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """Cancel the call, if it has not ended; nothing more is given."""
        if self._pid == os.getpid():
            self._outbox.close()
            self._future.cancel()

    def __enter__(self) -> Replies[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


# ---------------------------------------------------------------- on the loop


class _Watched:
    """The channel as one stub call sees it, so that the call can be got hold of behind the stub."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.unary_unary = channel.unary_unary
        self.call: ClientCall[Any, Any] | None = None

    def request(self, *args: Any, **options: Any) -> ClientCall[Any, Any]:
        self.call = self._channel.request(*args, **options)
        return self.call


async def _pump(replies: AsyncGenerator[R, None], outbox: Outbox[R], watched: _Watched) -> None:
    """Read a call's replies until it ends. When this is cancelled, so is the call, at once.

    Closing the generator is not enough: it holds another, betterproto's, that is left to the garbage collector.
    """
    try:
        async for reply in replies:
            await outbox.put(reply)
    finally:
        if watched.call is not None:
            await watched.call.cancel()
        await replies.aclose()


class _LoopThread:
    """An event loop in a thread of its own, with a channel on it. Does not refer to its owner, who may be dropped."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = asyncio.Event()
        self._is_closed = False
        self._pid = os.getpid()

    @property
    def is_running(self) -> bool:
        return self._loop is not None and not self._is_closed and self._pid == os.getpid()

    def ready(self) -> asyncio.AbstractEventLoop:
        """The loop, started if need be. Raises ConfigurationError where it must not be waited for."""
        _refuse_coroutines()
        if self._loop is None and self._pid != os.getpid():  # nothing had begun before the fork
            self._pid, self._lock = os.getpid(), threading.Lock()
        _refuse_fork(self._pid)
        with self._lock:
            if self._is_closed:
                raise self._closed_error()
            if self._loop is None:
                started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
                name = f"orbit-lite {self._channel.endpoint}"
                self._thread = threading.Thread(target=self._run, args=(started,), name=name, daemon=True)
                self._thread.start()
                self._loop = started.result()
            return self._loop

    def submit(self, begin: Callable[[], Coroutine[Any, Any, R]]) -> concurrent.futures.Future[R]:
        """Run a coroutine on the loop, in a copy of the caller's context. It runs before `stop` does."""
        with self._lock:
            if self._is_closed or self._loop is None:
                raise self._closed_error()
            return asyncio.run_coroutine_threadsafe(begin(), self._loop)

    def _closed_error(self) -> ConnectError:
        return ConnectError("the channel is closed", peer=self._channel.peer_name, retryable=False)

    def stop(self) -> None:
        """Let the loop come to its end."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(self._stopping.set)

    def close(self) -> None:
        if self._pid != os.getpid():
            return
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            while self._thread.is_alive():
                self._thread.join(PATIENCE)

    def _run(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        async def main() -> None:
            async with self._channel:
                started.set_result(asyncio.get_running_loop())
                await self._stopping.wait()

        try:
            asyncio.run(main())  # which cancels in the end what still runs
        except BaseException as error:
            if started.done():
                log.exception("event loop of %r ended", self._channel)
            else:
                started.set_exception(error)


# ---------------------------------------------------------------- in the caller's thread


def _result(future: concurrent.futures.Future[R]) -> R:
    """Wait for a call. Whatever ends the wait, such as KeyboardInterrupt, cancels it."""
    try:
        while PATIENCE is not None and not concurrent.futures.wait([future], PATIENCE).done:
            pass  # `result(PATIENCE)` would not tell its own TimeoutError from the call's
        return future.result()
    except concurrent.futures.CancelledError:
        raise _closed() from None
    finally:
        future.cancel()


def _feed(requests: Iterable[object], inbox: Inbox[object]) -> None:
    """Hand requests over until there are no more, or nobody wants them."""
    for request in requests:
        if not inbox.put(request):
            return
    inbox.end()


def _feed_beside(
    requests: Iterable[object],
    inbox: Inbox[object],
    outbox: Outbox[Any],
    future: concurrent.futures.Future[None],
) -> None:
    """The same in a thread of the call: an error of the iterable is the call's."""
    try:
        _feed(requests, inbox)
    except BaseException as error:  # it is given to the caller
        if outbox.is_finished:
            log.warning("requests of a call that is over raised", exc_info=error)
        outbox.finish(error)
        future.cancel()


def _refuse_coroutines() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError("a blocking call in a coroutine would stop its event loop: use Channel and await")


def _refuse_fork(pid: int) -> None:
    if pid != os.getpid():
        raise ConfigurationError(f"this channel was opened by process {pid} before a fork: make another after it")


def _closed() -> Cancelled:
    return Cancelled("the channel was closed", executed=Executed.MAYBE)
