"""Servers that attack their clients: the call fails with the right status, in time and with bounded memory, and the
next call goes to a new connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality

from orbit_lite.errors import ConnectionLost, OrbitError
from orbit_lite.rpc import (
    Channel,
    ConnectionPool,
    DeadlineExceeded,
    Internal,
    PoolConfig,
    PooledChannel,
    ResourceExhausted,
    Unavailable,
)

if TYPE_CHECKING:
    from tests.faults.conftest import Peer

Hostile = Callable[..., Awaitable[Channel]]

PATH = "/test.Echo/Call"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x5, 0x6, 0x7, 0x9
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PROTOCOL, CANCEL, CALM = 0x1, 0x8, 0xB
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
#: Attacks.
CONTINUATIONS = 1000
FRAMES = 100_000
CALLS = 30
#: Growth of memory that one failed call may leave or need.
LARGEST_GROWTH = 1 << 20
SHORT = 0.1


async def unary(channel: Channel | PooledChannel, **options: Any) -> str:
    """One call with a reply."""
    options.setdefault("timeout", 5.0)
    async with channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue, **options) as call:
        await call.send_message(StringValue("q"), end=True)
        reply = await call.recv_message()
    assert isinstance(reply, StringValue)
    return reply.value


async def answer(peer: Peer, stream_id: int, text: bytes = b"\x0a\x02ok") -> None:
    """A good reply."""
    head, tail = peer.headers(stream_id, HEAD), peer.headers(stream_id, OK, end=True)
    await peer.send(head + peer.data(stream_id, peer.message(text)) + tail)


def name_of(attack: Any) -> str:
    """How a test is called."""
    return str(attack.__name__)


class Script:
    """Attacks the first connection; serves all others as a good server does. Counts what it saw."""

    def __init__(self, attack: Callable[[Peer, int], Awaitable[None]]) -> None:
        self.attack = attack
        self.connections = 0
        self.calls = 0
        self.first: Peer | None = None

    async def __call__(self, peer: Peer) -> None:
        self.connections += 1
        if self.connections == 1:
            self.first = peer
            stream_id = (await peer.next(HEADERS)).stream_id
            self.calls += 1
            await self.attack(peer, stream_id)
            await peer.until_closed()
            return
        while True:
            stream_id = (await peer.next(HEADERS)).stream_id
            self.calls += 1
            await answer(peer, stream_id)

    async def wait_closed(self) -> list[int]:
        """Codes of the GOAWAYs that the client sent before it closed the first connection."""
        assert self.first is not None
        while not self.first.sock._closed:  # type: ignore[attr-defined]  # noqa: ASYNC110  # the script ends it
            await asyncio.sleep(0.001)
        return [got.code for got in self.first.seen if got.kind == GOAWAY]


# ---------------------------------------------------------------- the connection ends


async def _push(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.frame(PUSH_PROMISE, END_HEADERS, stream_id, (2).to_bytes(4, "big") + b"\x82"))


async def _headers_of_a_stream_that_nobody_opened(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.headers(stream_id + 2, HEAD))


async def _stream_of_its_own(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.headers(2, HEAD))


async def _enable_push(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.settings([(0x2, 1)]))


@pytest.mark.parametrize(
    "attack",
    [_push, _headers_of_a_stream_that_nobody_opened, _stream_of_its_own, _enable_push],
    ids=name_of,
)
async def test_what_a_server_may_not_do_ends_the_connection(hostile: Hostile, attack: Any) -> None:
    script = Script(attack)
    channel = await hostile(script)
    with pytest.raises((ConnectionLost, Unavailable, Internal)):
        await unary(channel)
    assert await script.wait_closed() == [PROTOCOL]
    assert await unary(channel) == "ok"
    assert script.connections == 2


async def test_a_client_says_that_it_wants_no_push(hostile: Hostile) -> None:
    script = Script(answer)
    channel = await hostile(script)
    assert await unary(channel) == "ok"
    assert script.first is not None
    settings = next(got.payload for got in script.first.seen if got.kind == SETTINGS and got.payload)
    values = {settings[at : at + 2]: settings[at + 2 : at + 6] for at in range(0, len(settings), 6)}
    assert values[b"\0\2"] == bytes(4)


async def _continuations(peer: Peer, stream_id: int) -> None:
    head = peer.headers(stream_id, HEAD)[9:]
    await peer.flood(
        [
            peer.frame(HEADERS, 0, stream_id, head),
            *[peer.frame(CONTINUATION, 0, stream_id, b"\x00\x01a\x01b" * 1000)] * CONTINUATIONS,
        ]
    )


async def _empty_continuations(peer: Peer, stream_id: int) -> None:
    await peer.flood([peer.frame(HEADERS, 0, stream_id), *[peer.frame(CONTINUATION, 0, stream_id)] * CONTINUATIONS])


async def _bomb(peer: Peer, stream_id: int) -> None:
    large = b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000
    await peer.send(peer.frame(HEADERS, END_HEADERS, stream_id, b"\x88" + large + b"\xbe" * 12_000))


async def _settings(peer: Peer, stream_id: int) -> None:
    await peer.flood([peer.settings() * 100] * (FRAMES // 100))


async def _pings(peer: Peer, stream_id: int) -> None:
    await peer.flood([peer.frame(PING, 0, 0, b"12345678") * 1000] * (FRAMES // 1000))


async def _interim(peer: Peer, stream_id: int) -> None:
    await peer.flood([peer.headers(stream_id, [(":status", "103")]) * 100] * (FRAMES // 100))


async def _empty_data(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.headers(stream_id, HEAD))
    await peer.flood([peer.data(stream_id, b"") * 100] * (FRAMES // 100))


async def _unknown(peer: Peer, stream_id: int) -> None:
    await peer.flood([peer.frame(0x42, 0, 0, bytes(16_384))] * 2000)


@pytest.mark.parametrize(
    "attack",
    [_continuations, _empty_continuations, _bomb, _settings, _pings, _interim, _empty_data, _unknown],
    ids=name_of,
)
async def test_a_flood_ends_the_connection_and_the_client_goes_on(hostile: Hostile, attack: Any) -> None:
    script = Script(attack)
    channel = await hostile(script)
    with pytest.raises((ConnectionLost, Unavailable, Internal, ResourceExhausted)):
        await unary(channel)
    assert await script.wait_closed() in ([CALM], [PROTOCOL])
    assert await unary(channel) == "ok"


async def test_a_server_may_test_the_connection_as_often_as_it_likes(hostile: Hostile) -> None:
    """Servers' keepalive is no attack, whatever their interval (gRFC A9)."""

    tested = asyncio.Event()

    async def script(peer: Peer) -> None:
        for number in range(20):
            await peer.send(peer.frame(PING, 0, 0, b"%08d" % number))
            assert (await peer.next(PING)).payload == b"%08d" % number
        tested.set()
        await answer(peer, (await peer.next(HEADERS)).stream_id)
        await peer.until_closed()

    channel = await hostile(script)
    await channel.connect()
    await tested.wait()
    assert await unary(channel) == "ok"


# ---------------------------------------------------------------- headers and messages


@pytest.mark.parametrize("where", ["head", "trailers", "trailers-only"])
async def test_large_headers_fail_the_call_and_not_the_connection(hostile: Hostile, where: str) -> None:
    large = [("a", "x" * 1000)] * 20
    runs = 0

    async def script(peer: Peer) -> None:
        nonlocal runs
        runs += 1
        stream_id = (await peer.next(HEADERS)).stream_id
        if where == "trailers-only":
            await peer.send(peer.headers(stream_id, [*HEAD, *OK, *large], end=True))
        else:
            await peer.send(peer.headers(stream_id, HEAD + (large if where == "head" else [])))
            await peer.send(peer.data(stream_id, peer.message(b"\x0a\x02ok")))
            await peer.send(peer.headers(stream_id, OK + (large if where == "trailers" else []), end=True))
        await answer(peer, (await peer.next(HEADERS)).stream_id)
        await peer.until_closed()

    channel = await hostile(script)
    with pytest.raises((ResourceExhausted, Internal)):
        await unary(channel)
    assert await unary(channel) == "ok"
    assert runs == 1


async def test_huge_headers_end_the_connection(hostile: Hostile) -> None:
    async def attack(peer: Peer, stream_id: int) -> None:
        block = peer.headers(stream_id, [*HEAD, *[("a", "x" * 1000)] * 200])[9:]
        pieces = [block[at : at + 30_000] for at in range(0, len(block), 30_000)]
        await peer.send(peer.frame(HEADERS, 0, stream_id, pieces[0]))
        await peer.flood(peer.frame(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:])

    script = Script(attack)
    channel = await hostile(script)
    with pytest.raises((ConnectionLost, ResourceExhausted, Internal, Unavailable)):
        await unary(channel)
    assert await script.wait_closed() in ([CALM], [PROTOCOL])
    assert await unary(channel) == "ok"


async def test_a_declared_length_is_not_believed(hostile: Hostile) -> None:
    async def attack(peer: Peer, stream_id: int) -> None:
        await peer.send(peer.headers(stream_id, HEAD) + peer.data(stream_id, b"\0\xff\xff\xff\xff"))

    channel = await hostile(Script(attack))
    await channel.connect()
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not trace its memory")
    tracemalloc.start()
    try:
        with pytest.raises(ResourceExhausted):
            await unary(channel)
        assert tracemalloc.get_traced_memory()[1] < LARGEST_GROWTH
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- time


async def _silence(peer: Peer, stream_id: int) -> None:
    pass


async def _window_of_zero(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.headers(stream_id, HEAD))


async def _drip(peer: Peer, stream_id: int) -> None:
    await peer.send(peer.headers(stream_id, HEAD) + peer.data(stream_id, b"\0\0\0\2\0"))
    while await peer.send(peer.data(stream_id, b"x")):
        await asyncio.sleep(SHORT / 10)
        if any(got.kind == RST_STREAM for got in peer.seen):
            return


async def _interim_drip(peer: Peer, stream_id: int) -> None:
    for _ in range(50):
        await peer.send(peer.headers(stream_id, [(":status", "103")]))
        await asyncio.sleep(SHORT / 10)


@pytest.mark.parametrize("attack", [_silence, _window_of_zero, _drip, _interim_drip], ids=name_of)
async def test_a_deadline_holds_against_a_slow_server(hostile: Hostile, attack: Any) -> None:
    resets: list[int] = []

    async def script(peer: Peer) -> None:
        if attack is _window_of_zero:
            await peer.send(peer.settings([(0x4, 0)]))
        stream_id = (await peer.next(HEADERS)).stream_id
        attacker = asyncio.create_task(attack(peer, stream_id))
        try:
            resets.append((await peer.next(RST_STREAM)).code)
        finally:
            attacker.cancel()
            await asyncio.wait([attacker])
        await peer.until_closed()

    channel = await hostile(script)
    await channel.connect()
    with pytest.raises(DeadlineExceeded):
        await unary(channel, timeout=SHORT)
    async with asyncio.timeout(5):
        while not resets:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert resets == [CANCEL]


@pytest.mark.parametrize("preface", [False, True])
async def test_a_deadline_holds_while_nothing_is_said(hostile: Hostile, preface: bool) -> None:
    async def script(peer: Peer) -> None:
        if preface:
            await peer.send(peer.frame(SETTINGS, 0, 0)[:5])
        await peer.until_closed()

    channel = await hostile(script, preface=False)
    with pytest.raises(DeadlineExceeded):
        await unary(channel, timeout=SHORT)


async def test_a_large_request_to_a_window_of_zero_ends_with_its_deadline(hostile: Hostile) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(peer.settings([(0x4, 0)]))
        await peer.until_closed()

    channel = await hostile(script)

    async def send() -> None:
        async with channel.request(PATH, Cardinality.STREAM_STREAM, StringValue, StringValue, timeout=SHORT) as call:
            while True:
                await call.send_message(StringValue("x" * 100_000))

    with pytest.raises(DeadlineExceeded):
        await send()


# ---------------------------------------------------------------- going away


@pytest.mark.parametrize("pooled", [True, False])
async def test_a_server_that_asks_for_calm_is_not_stormed(hostile: Hostile, pooled: bool) -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.next(HEADERS)
        await peer.send(peer.frame(GOAWAY, 0, 0, bytes(4) + CALM.to_bytes(4, "big") + b"calm"))

    channel = await hostile(script)
    async with ConnectionPool(pool=PoolConfig(redial_initial=1.0)) as pool:
        caller = pool.channel(channel.endpoint.url) if pooled else channel
        for _ in range(CALLS):
            with pytest.raises(OrbitError):
                await unary(caller, timeout=0.01)
    assert connections <= 3


async def test_a_call_learns_that_the_server_asked_for_calm(hostile: Hostile) -> None:
    async def script(peer: Peer) -> None:
        await peer.next(HEADERS)
        await peer.send(peer.frame(GOAWAY, 0, 0, (1).to_bytes(4, "big") + CALM.to_bytes(4, "big") + b"calm"))

    channel = await hostile(script)
    with pytest.raises(ResourceExhausted):
        await unary(channel)


@pytest.mark.parametrize("code", [0x8, 0xB])
async def test_a_reset_leaves_the_connection_to_the_other_calls(hostile: Hostile, code: int) -> None:
    runs = 0

    async def script(peer: Peer) -> None:
        nonlocal runs
        runs += 1
        await peer.send(peer.reset((await peer.next(HEADERS)).stream_id, code))
        await answer(peer, (await peer.next(HEADERS)).stream_id)
        await peer.until_closed()

    channel = await hostile(script)
    with pytest.raises(OrbitError):
        await unary(channel)
    assert await unary(channel) == "ok"
    assert runs == 1
