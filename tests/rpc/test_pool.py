"""The pool on connections in memory, whose dials the test answers, and on real ones over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality

from orbit_lite.errors import ConnectError, ConnectionLost, Executed, OrbitError, ParseError
from orbit_lite.rpc import (
    ConnectionPool,
    Deadline,
    DeadlineExceeded,
    Endpoint,
    NotFound,
    PoolConfig,
    PooledChannel,
    RetryConfig,
    Server,
    ServerConfig,
    TransportConfig,
    Unavailable,
    deadline_scope,
)
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.stream import Stream

URL = "http://10.0.0.1:1"
AT_ONCE = TransportConfig(retry_backoff_initial=0.0)
NO_WAIT = PoolConfig(redial_initial=0.0, redial_max=0.0)


class MemoryChannel:
    """A connection whose dial the test answers, and which carries nothing."""

    def __init__(self, config: TransportConfig) -> None:
        self.config = config
        self.dial: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_connected = False
        self.is_closed = False
        self.stream_limit: int | None = 100
        self.keep_alive_interval = config.keep_alive_interval

    async def connect(self) -> None:
        await self.dial
        self.is_connected = True

    def open_at_once(self, headers: Headers, data: bytes) -> Stream | None:
        raise NotImplementedError

    async def open_stream(self, headers: Callable[[], Headers], *, end: bool) -> Stream:
        raise NotImplementedError

    def close(self) -> None:
        self.is_connected = False
        self.is_closed = True

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)


@dataclass
class Dials:
    """Every connection that a pool has asked for."""

    made: list[MemoryChannel] = field(default_factory=list)

    def __call__(self, endpoint: Endpoint, config: TransportConfig) -> MemoryChannel:
        self.made.append(MemoryChannel(config))
        return self.made[-1]

    async def next(self, number: int) -> MemoryChannel:
        while len(self.made) < number:  # noqa: ASYNC110  # the pool's own turn has no event
            await asyncio.sleep(0)
        return self.made[number - 1]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def dials() -> Dials:
    return Dials()


@pytest.fixture
async def pool(dials: Dials) -> AsyncIterator[ConnectionPool]:
    async with ConnectionPool(AT_ONCE, pool=NO_WAIT, channel_factory=dials) as pool:
        yield pool


# ---------------------------------------------------------------- dialling


async def test_many_first_callers_share_one_dial(pool: ConnectionPool, dials: Dials) -> None:
    callers = [asyncio.create_task(pool.get_connection(URL)) for _ in range(50)]
    (await dials.next(1)).dial.set_result(None)
    await asyncio.gather(*callers)
    assert len(dials.made) == 1
    stats = await pool.get_stats()
    assert (stats.total_connections, stats.endpoints[0].dials) == (1, 1)


async def test_a_second_look_reuses_the_connection_under_any_spelling(pool: ConnectionPool, dials: Dials) -> None:
    for url in ("http://10.0.0.1:1", "10.0.0.1:1", "grpc://10.0.0.1:1"):
        caller = asyncio.create_task(pool.get_connection(url))
        dial = (await dials.next(1)).dial
        if not dial.done():
            dial.set_result(None)
        await caller
    assert len(dials.made) == 1
    assert pool.stats.total_connections == 1


async def test_a_refused_dial_fails_everyone_who_waits_with_an_error_of_their_own(
    pool: ConnectionPool, dials: Dials
) -> None:
    callers = [asyncio.create_task(pool.get_connection(URL)) for _ in range(3)]
    (await dials.next(1)).dial.set_exception(ConnectError("cannot connect: refused"))
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(error, ConnectError) and error.executed is Executed.NO for error in errors)
    assert len({id(error) for error in errors}) == 3
    assert {str(error) for error in errors} == {f"cannot connect: refused (peer {URL})"}
    await settle()
    assert dials.made[0].is_closed
    assert pool.stats.endpoints[0].dial_failures == 1


async def test_a_defect_in_dialling_reaches_callers_as_a_typed_error(
    pool: ConnectionPool, dials: Dials, caplog: pytest.LogCaptureFixture
) -> None:
    caller = asyncio.create_task(pool.get_connection(URL))
    (await dials.next(1)).dial.set_exception(UnicodeError("secret"))
    with pytest.raises(ConnectError, match="cannot connect: UnicodeError"):
        await caller
    assert "defect while dialling" in caplog.text


async def test_a_cancelled_caller_neither_ends_the_dial_nor_keeps_a_connection(
    pool: ConnectionPool, dials: Dials
) -> None:
    first, second = (asyncio.create_task(pool.get_connection(URL)) for _ in range(2))
    channel = await dials.next(1)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    channel.dial.set_result(None)
    await second
    assert pool.channel(URL).open_streams == 0


async def test_a_caller_cancelled_in_the_moment_of_its_grant_gives_it_back(pool: ConnectionPool, dials: Dials) -> None:
    caller = asyncio.create_task(pool.get_connection(URL))
    channel = await dials.next(1)
    channel.dial.set_result(None)
    while not channel.is_connected:  # noqa: ASYNC110  # one turn at a time: the grant comes in the same one
        await asyncio.sleep(0)
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    assert pool.channel(URL).open_streams == 0
    assert pool.channel(URL).is_connected


async def test_a_dial_far_off_is_not_waited_for(dials: Dials) -> None:
    config = TransportConfig(connect_timeout=5.0)
    async with ConnectionPool(
        config, pool=PoolConfig(redial_initial=60.0, redial_max=60.0), channel_factory=dials
    ) as pool:
        caller = asyncio.create_task(pool.get_connection(URL))
        (await dials.next(1)).dial.set_exception(ConnectError("cannot connect: refused"))
        with suppress(ConnectError):
            await caller
        with pytest.raises(ConnectError, match=r"cannot connect: refused; it is tried again in \d+\.\d s"):
            await pool.get_connection(URL)
        assert len(dials.made) == 1


async def test_the_deadline_in_force_ends_the_wait_for_a_connection(pool: ConnectionPool, dials: Dials) -> None:
    with deadline_scope(Deadline.after(0.01)), pytest.raises(DeadlineExceeded) as caught:
        await pool.get_connection(URL)
    assert caught.value.executed is Executed.NO


@pytest.mark.parametrize("url", ["", "http://", "ftp://host:1", "http://host:99999"])
async def test_a_malformed_url_is_a_parse_error(pool: ConnectionPool, url: str) -> None:
    with pytest.raises(ParseError):
        await pool.get_connection(url)


async def test_a_complaint_of_too_many_pings_is_remembered_for_the_next_connection(
    pool: ConnectionPool, dials: Dials
) -> None:
    for number in (1, 2):
        caller = asyncio.create_task(pool.get_connection(URL))
        channel = await dials.next(number)
        channel.dial.set_result(None)
        await caller
        channel.is_connected = False
        channel.keep_alive_interval = 60.0
        await pool.cleanup_idle_connections()
        await settle()
    assert [made.config.keep_alive_interval for made in dials.made] == [30.0, 60.0]


# ---------------------------------------------------------------- closing


async def test_close_tells_those_who_wait_and_ends_the_dial(pool: ConnectionPool, dials: Dials) -> None:
    caller = asyncio.create_task(pool.get_connection(URL))
    channel = await dials.next(1)
    await pool.close()
    with pytest.raises(ConnectError, match="the pool is closed") as caught:
        await caller
    assert not caught.value.retryable
    assert channel.is_closed
    for url in (URL, "http://other:1"):
        with pytest.raises(ConnectError, match="the pool is closed"):
            await pool.get_connection(url)
    await pool.close()
    assert repr(pool) == "<ConnectionPool closed, 1 endpoints, 0 connections, 0 requests, 0 errors>"


async def test_the_background_task_cleans_up_and_survives_a_failure(
    dials: Dials, caplog: pytest.LogCaptureFixture
) -> None:
    config = PoolConfig(max_idle=0.0, cleanup_interval=0.001)
    async with ConnectionPool(pool=config, channel_factory=dials) as pool:
        pool.start_background_tasks()
        caller = asyncio.create_task(pool.get_connection(URL))
        (await dials.next(1)).dial.set_result(None)
        await caller
        while not dials.made[0].is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert pool.stats.total_connections == 0


# ---------------------------------------------------------------- attempts


@pytest.mark.parametrize("idempotent", [False, True])
async def test_an_attempt_is_repeated_where_that_is_right(pool: ConnectionPool, idempotent: bool) -> None:
    outcomes: list[OrbitError | str] = [
        Unavailable("refused", executed=Executed.NO),
        ConnectionLost("gone", executed=Executed.MAYBE),
        "done",
    ]

    async def attempt(channel: PooledChannel) -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, OrbitError):
            raise outcome
        return outcome

    if idempotent:
        assert await pool.call(URL, attempt, method="/a.B/C", idempotent=True) == "done"
    else:
        with pytest.raises(ConnectionLost) as caught:
            await pool.call(URL, attempt, method="/a.B/C")
        assert (caught.value.attempt, caught.value.method, caught.value.peer) == (2, "/a.B/C", URL)


async def test_a_method_may_be_declared_idempotent_by_the_configuration(dials: Dials) -> None:
    retry = RetryConfig(idempotent_methods=frozenset({"/a.B/Get"}))
    tries = 0

    async def attempt(channel: PooledChannel) -> None:
        nonlocal tries
        tries += 1
        raise ConnectionLost("gone")

    async with ConnectionPool(AT_ONCE, retry=retry, channel_factory=dials) as pool:
        for method, expected in (("/a.B/Put", 1), ("/a.B/Get", 4)):
            tries = 0
            with pytest.raises(ConnectionLost):
                await pool.call(f"http://{expected}.test", attempt, method=method)
            assert tries == expected


async def test_what_is_no_error_of_ours_passes_through_at_once(pool: ConnectionPool) -> None:
    async def attempt(channel: PooledChannel) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await pool.call(URL, attempt)


async def test_the_deadline_covers_all_attempts(dials: Dials) -> None:
    config = TransportConfig(retry_backoff_initial=10.0)
    async with ConnectionPool(config, retry=RetryConfig(jitter=0.0), channel_factory=dials) as pool:

        async def attempt(channel: PooledChannel) -> None:
            raise Unavailable("busy", executed=Executed.NO)

        with pytest.raises(Unavailable) as caught:
            await pool.call(URL, attempt, timeout=5.0)
        assert caught.value.attempt == 1


# ---------------------------------------------------------------- on loopback


@dataclass
class Loop:
    """A server with one method, and a pool for it."""

    server: Server
    pool: ConnectionPool
    url: str

    async def ask(self, text: str, channel: PooledChannel | None = None, **options: Any) -> str:
        channel = channel or self.pool.channel(self.url)
        request = channel.request("/test.Echo/Call", Cardinality.UNARY_UNARY, StringValue, StringValue, **options)
        async with request as call:
            await call.send_message(StringValue(text), end=True)
            reply = await call.recv_message()
        assert reply is not None
        return reply.value


@pytest.fixture
async def loop(serve: Any) -> AsyncIterator[Callable[..., Any]]:
    pools: list[ConnectionPool] = []

    async def make(func: Any, *, streams: int = 256, connections: int = 10) -> Loop:
        served = await serve(func, server_config=ServerConfig(cancel_grace=1.0, max_concurrent_streams=streams))
        config = TransportConfig(retry_backoff_initial=0.0, max_connections_per_endpoint=connections)
        pools.append(ConnectionPool(config, pool=NO_WAIT))
        return Loop(served.server, pools[-1], f"http://127.0.0.1:{served.server.port}")

    yield make
    for pool in pools:
        await pool.close()


async def echo(stream: Any) -> None:
    request = await stream.recv_message()
    if request.value == "unknown":
        raise NotFound("no such thing")
    await stream.send_message(request)


async def test_calls_count_and_their_latency_is_a_moving_average(loop: Any) -> None:
    ends = await loop(echo)
    assert await ends.ask("a") == "a"
    first = ends.pool.stats.endpoints[0].average_latency_ms
    assert first > 0.0
    with pytest.raises(NotFound):
        await ends.ask("unknown")
    stats = ends.pool.stats
    assert (stats.total_connections, stats.total_requests, stats.total_errors) == (1, 2, 1)
    assert stats.average_latency_ms == first
    known = ends.pool._endpoint(ends.url)
    known.record(failed=False, latency=first / 1000 + 1.0)
    assert ends.pool.stats.average_latency_ms == pytest.approx(first + 100.0)


async def test_counters_outlive_their_connections_and_the_mean_is_over_endpoints(loop: Any) -> None:
    one, two = await loop(echo), await loop(echo)
    await one.ask("a")
    await one.ask("b", one.pool.channel(two.url))
    await one.pool.cleanup_idle_connections(0.0)
    stats = await one.pool.get_stats()
    assert (stats.total_connections, stats.total_requests) == (0, 2)
    latencies = [endpoint.average_latency_ms for endpoint in stats.endpoints]
    assert stats.average_latency_ms == pytest.approx(sum(latencies) / 2)
    assert await one.ask("c") == "c"
    assert one.pool.stats.endpoints[0].dials == 2


async def test_a_saturated_connection_is_joined_by_others_up_to_the_maximum_and_the_rest_waits(loop: Any) -> None:
    running, most, go_on = 0, 0, asyncio.Event()

    async def hold(stream: Any) -> None:
        nonlocal running, most
        request = await stream.recv_message()
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        await stream.send_message(request)

    ends = await loop(hold, streams=2, connections=3)
    calls = [asyncio.create_task(ends.ask(str(number))) for number in range(10)]
    while running < 6:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert ends.pool.stats.total_connections == 3
    go_on.set()
    assert await asyncio.gather(*calls) == [str(number) for number in range(10)]
    assert most == 6
    assert ends.pool.stats.endpoints[0].dials == 3


async def test_cleaning_up_lets_calls_in_flight_finish(loop: Any) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold(stream: Any) -> None:
        request = await stream.recv_message()
        arrived.set()
        await go_on.wait()
        await stream.send_message(request)

    ends = await loop(hold)
    call = asyncio.create_task(ends.ask("a"))
    await arrived.wait()
    await ends.pool.cleanup_idle_connections(0.0)
    assert ends.pool.stats.total_connections == 1
    go_on.set()
    assert await call == "a"


async def test_a_lost_connection_is_replaced_by_the_next_call(loop: Any) -> None:
    ends = await loop(echo)
    await ends.ask("a")
    port = ends.server.port
    ends.server.close()
    await ends.server.wait_closed()
    with pytest.raises(ConnectError) as caught:
        await ends.ask("b")
    assert caught.value.executed is Executed.NO
    async with Server([_Echo()]) as again:
        await again.start("127.0.0.1", port)
        assert await ends.ask("c") == "c"


async def test_a_cancelled_call_is_no_error_of_the_endpoint_and_frees_its_place(loop: Any) -> None:
    async def hang(stream: Any) -> None:
        await stream.recv_message()
        await asyncio.Event().wait()

    ends = await loop(hang)
    call = asyncio.create_task(ends.ask("a"))
    while ends.pool.channel(ends.url).open_streams == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    stats = ends.pool.stats
    assert (stats.total_requests, stats.total_errors, stats.endpoints[0].open_streams) == (1, 0, 0)
    with pytest.raises(DeadlineExceeded):
        await ends.ask("b", timeout=0.01)
    assert ends.pool.stats.total_errors == 1


async def test_a_refused_call_runs_once_on_another_connection(loop: Any) -> None:
    calls = 0

    async def refuse_first(stream: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("draining", metadata={"orbit-executed": "no"})
        await echo(stream)

    ends = await loop(refuse_first)

    async def attempt(channel: PooledChannel) -> str:
        return str(await ends.ask("x", channel))

    assert await ends.pool.call(ends.url, attempt, method="/test.Echo/Call") == "x"
    assert calls == 2


class _Echo:
    def __mapping__(self) -> dict[str, Any]:
        from grpclib.const import Handler

        return {"/test.Echo/Call": Handler(echo, Cardinality.UNARY_UNARY, StringValue, StringValue)}
