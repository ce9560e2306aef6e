"""Calls from code without an event loop, against a server that has its own in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import betterproto
import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler

from orbit_lite.errors import ConfigurationError, ConnectError, OrbitError
from orbit_lite.rpc import (
    BlockingChannel,
    Cancelled,
    Deadline,
    DeadlineExceeded,
    NotFound,
    Server,
    ServerConfig,
    current_call,
    current_deadline,
    deadline_scope,
)

PATIENCE = 20.0  # seconds that a test waits for what must happen; never reached


class EchoStub(betterproto.ServiceStub):
    """As betterproto generates it."""

    async def say(
        self, request: StringValue, *, timeout: float | None = None, deadline: Any = None, metadata: Any = None
    ) -> StringValue:
        return await self._unary_unary(
            "/test.Echo/Say", request, StringValue, timeout=timeout, deadline=deadline, metadata=metadata
        )

    async def count(
        self, request: StringValue, *, timeout: float | None = None, deadline: Any = None, metadata: Any = None
    ) -> AsyncIterator[StringValue]:
        async for reply in self._unary_stream(
            "/test.Echo/Count", request, StringValue, timeout=timeout, deadline=deadline, metadata=metadata
        ):
            yield reply

    async def join(
        self, requests: Any, *, timeout: float | None = None, deadline: Any = None, metadata: Any = None
    ) -> StringValue:
        return await self._stream_unary(
            "/test.Echo/Join", requests, StringValue, StringValue, timeout=timeout, deadline=deadline, metadata=metadata
        )

    async def chat(
        self, requests: Any, *, timeout: float | None = None, deadline: Any = None, metadata: Any = None
    ) -> AsyncIterator[StringValue]:
        async for reply in self._stream_stream(
            "/test.Echo/Chat", requests, StringValue, StringValue, timeout=timeout, deadline=deadline, metadata=metadata
        ):
            yield reply


class Echo:
    """Keeps account of what its callers do. A request "wait" is not answered, "fail" is answered with NOT_FOUND."""

    def __init__(self) -> None:
        self.waiting = threading.Event()
        self.cancelled = threading.Event()
        self.sent = 0
        self.received = 0

    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/test.Echo/Say": Handler(self.say, Cardinality.UNARY_UNARY, StringValue, StringValue),
            "/test.Echo/Count": Handler(self.count, Cardinality.UNARY_STREAM, StringValue, StringValue),
            "/test.Echo/Join": Handler(self.join, Cardinality.STREAM_UNARY, StringValue, StringValue),
            "/test.Echo/Chat": Handler(self.chat, Cardinality.STREAM_STREAM, StringValue, StringValue),
        }

    async def _look_at(self, text: str) -> None:
        if text == "fail":
            raise NotFound("nothing there")
        if text == "wait":
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()

    async def say(self, call: Any) -> None:
        text = (await call.recv_message()).value
        await self._look_at(text)
        context = current_call()
        assert context is not None
        said = context.metadata.get("said", "")
        await call.send_message(StringValue(text + str(said)))

    async def count(self, call: Any) -> None:
        """Sends 0, 1, … up to the number asked for; "all": until it is cancelled; "1 fail": then fails."""
        limit, _, then = (await call.recv_message()).value.partition(" ")
        try:
            while limit == "all" or self.sent < int(limit):
                await call.send_message(StringValue(str(self.sent) + "." * (1000 if limit == "all" else 0)))
                self.sent += 1
            await self._look_at(then)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def join(self, call: Any) -> None:
        words = []
        async for request in call:
            self.received += 1
            await self._look_at(request.value)
            words.append(request.value)
        await call.send_message(StringValue(" ".join(words)))

    async def chat(self, call: Any) -> None:
        try:
            async for request in call:
                await self._look_at(request.value)
                await call.send_message(StringValue(request.value.upper()))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def port(echo: Echo) -> Iterator[int]:
    """Of a server in a thread of its own."""
    started = threading.Event()
    ports: list[int] = []
    stops: list[Callable[[], object]] = []

    async def main() -> None:
        async with Server([echo], config=ServerConfig(cancel_grace=1.0)) as server:
            await server.start("127.0.0.1", 0)
            assert server.port is not None
            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            ports.append(server.port)
            stops.append(lambda: loop.call_soon_threadsafe(stop.set))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(PATIENCE)
    yield ports[0]
    stops[0]()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def channel(port: int) -> Iterator[BlockingChannel]:
    with BlockingChannel("127.0.0.1", port) as channel:
        yield channel


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def words(*texts: str) -> Iterator[StringValue]:
    return (StringValue(text) for text in texts)


# ---------------------------------------------------------------- the four kinds of method


def test_a_unary_call_returns_its_reply(channel: BlockingChannel) -> None:
    assert channel.stub(EchoStub).say(StringValue("hello"), timeout=PATIENCE).value == "hello"


def test_a_typed_call_is_the_same(channel: BlockingChannel) -> None:
    stub = EchoStub(channel)  # type: ignore[arg-type]  # betterproto asks for grpclib's channel
    said: StringValue = channel.call(stub.say, StringValue("hello"), metadata={"said": "!"})
    counted: list[StringValue] = list(channel.call(stub.count, StringValue("2")))
    assert [said.value, *(reply.value for reply in counted)] == ["hello!", "0", "1"]


def test_server_streaming_returns_an_iterator(channel: BlockingChannel) -> None:
    replies = channel.stub(EchoStub).count(StringValue("40"))
    assert [reply.value for reply in replies] == [str(number) for number in range(40)]
    assert list(replies) == []
    assert replies.trailing_metadata is not None


def test_client_streaming_takes_any_iterable_in_the_callers_thread(channel: BlockingChannel) -> None:
    threads = set()

    def requests() -> Iterator[StringValue]:
        for text in map(str, range(40)):
            threads.add(threading.current_thread())
            yield StringValue(text)

    join = channel.stub(EchoStub).join
    assert join(requests()).value == " ".join(map(str, range(40)))
    assert threads == {threading.current_thread()}
    assert join([StringValue("a"), StringValue("b")]).value == "a b"
    assert join([]).value == ""


def test_both_streams_go_on_side_by_side(channel: BlockingChannel) -> None:
    """Each request waits for the reply to the one before."""
    heard = threading.Semaphore(1)

    def requests() -> Iterator[StringValue]:
        for text in ("a", "b", "c"):
            assert heard.acquire(timeout=PATIENCE)
            yield StringValue(text)

    got = []
    for reply in channel.stub(EchoStub).chat(requests(), timeout=PATIENCE):
        got.append(reply.value)
        heard.release()
    assert got == ["A", "B", "C"]


def test_a_stubs_own_timeout_and_metadata_count(channel: BlockingChannel) -> None:
    assert channel.stub(EchoStub, metadata={"said": "!"}).say(StringValue("a")).value == "a!"
    with pytest.raises(DeadlineExceeded):
        channel.stub(EchoStub, timeout=0.02).say(StringValue("wait"))


def test_a_stub_has_the_methods_of_the_generated_one_and_no_others(channel: BlockingChannel) -> None:
    stub = channel.stub(EchoStub)
    assert {"say", "count", "join", "chat"} <= set(dir(stub))
    with pytest.raises(AttributeError):
        stub.shout  # noqa: B018
    with pytest.raises(AttributeError):
        stub.timeout  # noqa: B018


def test_a_url_names_the_server(port: int) -> None:
    with BlockingChannel.from_url(f"http://127.0.0.1:{port}") as channel:
        assert channel.stub(EchoStub).say(StringValue("a")).value == "a"
        assert channel.endpoint.port == port


# ---------------------------------------------------------------- errors and time


def test_an_error_is_the_same_as_with_asyncio_and_shows_the_callers_line(channel: BlockingChannel) -> None:
    with pytest.raises(NotFound, match="nothing there") as caught:
        channel.stub(EchoStub).say(StringValue("fail"))
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "test_an_error_is_the_same_as_with_asyncio_and_shows_the_callers_line" in names
    assert caught.value.method == "/test.Echo/Say"


def test_replies_that_came_before_an_error_are_given_and_the_error_stays(channel: BlockingChannel) -> None:
    replies = channel.stub(EchoStub).count(StringValue("2 fail"))
    assert [next(replies).value, next(replies).value] == ["0", "1"]
    for _ in range(2):
        with pytest.raises(NotFound):
            next(replies)


@pytest.mark.parametrize("method", ["say", "count", "join", "chat"])
def test_a_deadline_ends_each_kind_of_call(channel: BlockingChannel, echo: Echo, method: str) -> None:
    request: Any = StringValue("0 wait" if method == "count" else "wait")
    call = getattr(channel.stub(EchoStub), method)
    with pytest.raises(DeadlineExceeded):
        list(call([request] if method in ("join", "chat") else request, timeout=0.1))
    assert echo.cancelled.wait(PATIENCE)


def test_the_callers_deadline_scope_counts(channel: BlockingChannel) -> None:
    with deadline_scope(Deadline.after(0.05)), pytest.raises(DeadlineExceeded):
        channel.stub(EchoStub).say(StringValue("wait"))


def test_a_call_that_fails_does_not_go_on_with_the_requests(channel: BlockingChannel) -> None:
    taken = []

    def requests() -> Iterator[StringValue]:
        while True:
            taken.append(1)
            yield StringValue("fail")

    with pytest.raises(NotFound):
        channel.stub(EchoStub).join(requests(), timeout=PATIENCE)
    assert len(taken) < 10_000


def test_requests_are_made_in_the_callers_context(channel: BlockingChannel) -> None:
    found = []

    def requests() -> Iterator[StringValue]:
        found.append(current_deadline())
        yield StringValue("a")

    with deadline_scope(Deadline.after(PATIENCE)) as deadline:
        list(channel.stub(EchoStub).chat(requests()))
    assert found == [deadline]


def test_requests_end_with_the_call_that_they_are_for(channel: BlockingChannel) -> None:
    def requests() -> Iterator[StringValue]:
        while True:
            yield StringValue("fail")

    with pytest.raises(NotFound):
        list(channel.stub(EchoStub).chat(requests()))
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.endswith("requests")])


@pytest.mark.parametrize("before", [(), ("a",)])
def test_an_error_of_the_requests_is_the_calls(channel: BlockingChannel, echo: Echo, before: tuple[str, ...]) -> None:
    def requests() -> Iterator[StringValue]:
        yield from words(*before)
        raise LookupError("no more words")

    with pytest.raises(LookupError, match="no more words"):
        channel.stub(EchoStub).join(requests())
    with pytest.raises(LookupError, match="no more words"):
        list(channel.stub(EchoStub).chat(requests()))
    assert channel.stub(EchoStub).say(StringValue("on")).value == "on"


def test_no_server_is_a_connect_error() -> None:
    with BlockingChannel("127.0.0.1", 1) as channel, pytest.raises(ConnectError):
        channel.stub(EchoStub).say(StringValue("a"))


# ---------------------------------------------------------------- bounds and cancellation


def test_a_slow_reader_slows_the_server_down(channel: BlockingChannel, echo: Echo) -> None:
    replies = channel.stub(EchoStub).count(StringValue("all"))
    next(replies)
    last = -1
    while last != echo.sent:  # until it stands still
        last = echo.sent
        time.sleep(0.1)
    assert last < 20_000  # at 1 kB each: the windows, not the memory
    for _ in range(last):
        next(replies)
    replies.close()


def test_requests_wait_for_a_slow_server(channel: BlockingChannel, echo: Echo) -> None:
    taken: list[int] = []

    def requests() -> Iterator[StringValue]:
        yield StringValue("wait")
        while True:
            taken.append(1)
            yield StringValue("x" * 100_000)

    replies = channel.stub(EchoStub).chat(requests())
    assert echo.waiting.wait(PATIENCE)
    last = -1
    while last != len(taken):
        last = len(taken)
        time.sleep(0.1)
    assert last < 100
    replies.close()


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_leaving_the_replies_cancels_the_call(channel: BlockingChannel, echo: Echo, how: str) -> None:
    replies = channel.stub(EchoStub).count(StringValue("all"))
    next(replies)
    if how == "close":
        replies.close()
        assert list(replies) == []
    elif how == "with":
        with replies:
            pass
    else:
        del replies
        gc.collect()
    assert echo.cancelled.wait(PATIENCE)


@pytest.mark.skipif(os.name != "posix", reason="pthread_kill")
@pytest.mark.parametrize("method", ["say", "count", "join"])
def test_ctrl_c_cancels_the_call(channel: BlockingChannel, echo: Echo, method: str) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        echo.waiting.wait(PATIENCE)
        time.sleep(0.05)  # so that the caller waits; if not yet, it is interrupted a little earlier
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    request: Any = StringValue("0 wait" if method == "count" else "wait")
    with pytest.raises(KeyboardInterrupt):
        list(getattr(channel.stub(EchoStub), method)([request] if method == "join" else request))
    thread.join(PATIENCE)
    assert echo.cancelled.wait(PATIENCE)
    assert channel.stub(EchoStub).say(StringValue("on")).value == "on"


# ---------------------------------------------------------------- threads and loops


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("orbit-lite")]


def test_one_thread_starts_with_the_first_call_and_ends_with_close(port: int) -> None:
    before = len(loop_threads())
    channel = BlockingChannel("127.0.0.1", port)
    assert len(loop_threads()) == before
    for _ in range(3):
        channel.stub(EchoStub).say(StringValue("a"))
        assert len(loop_threads()) == before + 1
    channel.close()
    channel.close()
    assert len(loop_threads()) == before
    with pytest.raises(ConnectError, match="closed"):
        channel.stub(EchoStub).say(StringValue("a"))


def test_many_threads_share_a_channel(channel: BlockingChannel) -> None:
    got: list[str] = []
    say = channel.stub(EchoStub).say

    def talk(name: str) -> None:
        got.extend(say(StringValue(f"{name} {turn}")).value for turn in range(10))

    threads = [threading.Thread(target=talk, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == sorted(f"{number} {turn}" for number in range(8) for turn in range(10))
    assert len(loop_threads()) == 1


@pytest.mark.parametrize("method", ["say", "count", "join", "chat"])
def test_close_ends_the_calls_of_other_threads(port: int, echo: Echo, method: str) -> None:
    errors: list[OrbitError] = []
    channel = BlockingChannel("127.0.0.1", port)

    def call() -> None:
        request: Any = StringValue("0 wait" if method == "count" else "wait")
        try:
            list(getattr(channel.stub(EchoStub), method)([request] if method in ("join", "chat") else request))
        except OrbitError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert echo.waiting.wait(PATIENCE)
    channel.close()
    thread.join(PATIENCE)
    assert [type(error) for error in errors] == [Cancelled]


async def test_a_coroutine_is_told_to_use_the_other_channel(port: int) -> None:
    channel = BlockingChannel("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="use Channel"):
        channel.stub(EchoStub).say(StringValue("a"))
    with pytest.raises(ConfigurationError, match="use Channel"), channel:
        pass
    assert loop_threads() == []


async def test_beside_a_running_loop_any_other_thread_may_call(port: int) -> None:
    def talk() -> str:
        with BlockingChannel("127.0.0.1", port) as channel:
            return str(channel.stub(EchoStub).say(StringValue("a")).value)

    assert await asyncio.to_thread(talk) == "a"


def test_awaiting_a_stub_on_a_blocking_channel_is_refused(channel: BlockingChannel) -> None:
    async def main() -> None:
        await EchoStub(channel).say(StringValue("a"))  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=r"channel\.call"):
        asyncio.run(main())


def test_methods_and_requests_that_do_not_fit_are_refused(channel: BlockingChannel, port: int) -> None:
    other = BlockingChannel("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="made on this channel"):
        channel.call(EchoStub(other).say, StringValue("a"))  # type: ignore[arg-type]

    async def requests() -> AsyncIterator[StringValue]:
        yield StringValue("a")

    with pytest.raises(ConfigurationError, match="plain one"):
        channel.stub(EchoStub).join(requests())


def test_a_channel_that_is_dropped_open_is_complained_of_and_ends(port: int) -> None:
    channel = BlockingChannel("127.0.0.1", port)
    channel.stub(EchoStub).say(StringValue("a"))
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031  # both are one on PyPy
        del channel
        gc.collect()
    until(lambda: not loop_threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_told_to_open_its_own(port: int) -> None:
    def child(opened: BlockingChannel, untouched: BlockingChannel) -> None:
        signal.alarm(int(PATIENCE))
        with contextlib.suppress(BaseException):
            with pytest.raises(ConfigurationError, match="before a fork"):
                opened.stub(EchoStub).say(StringValue("a"))
            opened.close()
            with untouched:
                assert untouched.stub(EchoStub).say(StringValue("b")).value == "b"
            os._exit(7)
        os._exit(1)

    untouched = BlockingChannel("127.0.0.1", port)
    with BlockingChannel("127.0.0.1", port) as opened:
        opened.stub(EchoStub).say(StringValue("a"))
        process = multiprocessing.get_context("fork").Process(target=child, args=(opened, untouched))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 7
        assert opened.stub(EchoStub).say(StringValue("a")).value == "a"
