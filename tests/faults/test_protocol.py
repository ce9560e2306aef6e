"""Peers that break the rules of frames, streams and flow control: each is told the code that RFC 9113 asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Attacked, Peer

Serve = Callable[..., Awaitable["Attacked"]]
Attack = Callable[["Peer"], bytes]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, CALM = 0x1, 0x3, 0x5, 0x6, 0xB
#: Bytes that a sender without respect for windows sends.
OVERSENT = 49 << 20
HANG = "/test.Target/Hang"


def open_stream(peer: Peer, stream_id: int = 1) -> bytes:
    """A stream that stays open."""
    return peer.headers(stream_id, peer.request(HANG))


# ---------------------------------------------------------------- what ends the connection

CONNECTION_FAULTS: dict[str, tuple[Attack, set[int]]] = {
    # stream identifiers (§5.1, §5.1.1)
    "even_stream": (lambda p: open_stream(p, 2), {PROTOCOL}),
    "lower_stream": (lambda p: open_stream(p, 5) + open_stream(p, 3), {PROTOCOL}),
    "headers_on_stream_0": (lambda p: open_stream(p, 0), {PROTOCOL}),
    "data_on_stream_0": (lambda p: p.data(0, b"x"), {PROTOCOL}),
    "data_on_idle_stream": (lambda p: p.data(1, b"x"), {PROTOCOL}),
    "reset_on_idle_stream": (lambda p: p.reset(1), {PROTOCOL}),
    "reset_on_stream_0": (lambda p: p.reset(0), {PROTOCOL}),
    "window_update_on_idle_stream": (lambda p: p.window(1, 1), {PROTOCOL}),
    "priority_on_stream_0": (lambda p: p.frame(PRIORITY, 0, 0, bytes(5)), {PROTOCOL}),
    "continuation_alone": (lambda p: p.frame(CONTINUATION, END_HEADERS, 1), {PROTOCOL}),
    "continuation_on_stream_0": (lambda p: p.frame(CONTINUATION, END_HEADERS, 0), {PROTOCOL}),
    "continuation_after_the_block": (
        lambda p: open_stream(p) + p.frame(CONTINUATION, END_HEADERS, 1),
        {PROTOCOL},
    ),
    "block_interrupted_by_data": (lambda p: p.frame(HEADERS, 0, 1, b"\x82") + p.data(1, b"x"), {PROTOCOL}),
    "block_interrupted_by_ping": (lambda p: p.frame(HEADERS, 0, 1) + p.frame(PING, 0, 0, bytes(8)), {PROTOCOL}),
    "block_interrupted_by_the_unknown": (lambda p: p.frame(HEADERS, 0, 1) + p.frame(0x42, 0, 1), {PROTOCOL}),
    "block_continued_on_another_stream": (
        lambda p: p.frame(HEADERS, 0, 1) + p.frame(CONTINUATION, END_HEADERS, 3),
        {PROTOCOL},
    ),
    "push_promise": (lambda p: open_stream(p) + p.frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), {PROTOCOL}),
    "headers_on_reset_stream": (lambda p: open_stream(p) + p.reset(1) + open_stream(p), {PROTOCOL, STREAM_CLOSED}),
    "data_on_reset_stream": (lambda p: open_stream(p) + p.reset(1) + p.data(1, b"x"), {PROTOCOL, STREAM_CLOSED}),
    # sizes (§4.2, §6)
    "frame_over_the_limit": (lambda p: p.frame(0x42, 0, 0, bytes((64 << 10) + 1)), {FRAME_SIZE}),
    "frame_of_16_mib_announced": (lambda p: b"\xff\xff\xff\0\0\0\0\0\1", {FRAME_SIZE}),
    "ping_of_7": (lambda p: p.frame(PING, 0, 0, bytes(7)), {FRAME_SIZE}),
    "ping_of_9": (lambda p: p.frame(PING, 0, 0, bytes(9)), {FRAME_SIZE}),
    "ping_on_a_stream": (lambda p: p.frame(PING, 0, 1, bytes(8)), {PROTOCOL}),
    "settings_of_5": (lambda p: p.frame(SETTINGS, 0, 0, bytes(5)), {FRAME_SIZE}),
    "settings_ack_with_content": (lambda p: p.frame(SETTINGS, ACK, 0, bytes(6)), {FRAME_SIZE}),
    "settings_on_a_stream": (lambda p: p.frame(SETTINGS, 0, 1), {PROTOCOL}),
    "window_update_of_3": (lambda p: p.frame(WINDOW_UPDATE, 0, 0, bytes(3)), {FRAME_SIZE}),
    "window_update_of_5": (lambda p: p.frame(WINDOW_UPDATE, 0, 0, bytes(5)), {FRAME_SIZE}),
    "reset_of_3": (lambda p: open_stream(p) + p.frame(RST_STREAM, 0, 1, bytes(3)), {FRAME_SIZE}),
    "reset_of_5": (lambda p: open_stream(p) + p.frame(RST_STREAM, 0, 1, bytes(5)), {FRAME_SIZE}),
    "goaway_of_7": (lambda p: p.frame(GOAWAY, 0, 0, bytes(7)), {FRAME_SIZE}),
    "goaway_on_a_stream": (lambda p: p.frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    "headers_too_short_for_priority": (
        lambda p: p.frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, bytes(4)),
        {FRAME_SIZE, PROTOCOL},
    ),
    "padding_longer_than_data": (lambda p: open_stream(p) + p.frame(DATA, PADDED, 1, b"\x05abc"), {PROTOCOL}),
    "padding_longer_than_headers": (
        lambda p: p.frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05\x82"),
        {PROTOCOL},
    ),
    "padding_without_length": (lambda p: open_stream(p) + p.frame(DATA, PADDED, 1), {FRAME_SIZE, PROTOCOL}),
    # values of settings (§6.5.2)
    "enable_push_of_2": (lambda p: p.settings([(0x2, 2)]), {PROTOCOL}),
    "initial_window_of_2_31": (lambda p: p.settings([(0x4, 1 << 31)]), {FLOW_CONTROL}),
    "max_frame_of_16383": (lambda p: p.settings([(0x5, (1 << 14) - 1)]), {PROTOCOL}),
    "max_frame_of_2_24": (lambda p: p.settings([(0x5, 1 << 24)]), {PROTOCOL}),
    # flow control (§6.9)
    "window_update_by_0": (lambda p: p.window(0, 0), {PROTOCOL}),
    "window_overflow": (lambda p: p.window(0, (1 << 31) - 1), {FLOW_CONTROL}),
    "initial_window_overflow": (
        lambda p: open_stream(p) + p.window(1, (1 << 31) - 1 - 65_535) + p.settings([(0x4, 65_536)]),
        {FLOW_CONTROL},
    ),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
async def test_what_breaks_the_connection_is_named_and_ends_it(serve: Serve, name: str) -> None:
    attack, codes = CONNECTION_FAULTS[name]
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(attack(peer))
    assert (await peer.goaway()).code in codes


# ---------------------------------------------------------------- what ends one stream

STREAM_FAULTS: dict[str, tuple[Attack, int]] = {
    "stream_window_update_by_0": (lambda p: p.window(1, 0), PROTOCOL),
    "stream_window_overflow": (lambda p: p.window(1, (1 << 31) - 1), FLOW_CONTROL),
    "depends_on_itself": (lambda p: p.frame(PRIORITY, 0, 1, b"\0\0\0\1\0"), PROTOCOL),
    "priority_of_4": (lambda p: p.frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE),
    "second_headers_without_end": (lambda p: p.headers(1, [("a", "b")]), PROTOCOL),
    "trailers_with_pseudo_header": (lambda p: p.headers(1, [(":path", "/")], end=True), PROTOCOL),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
async def test_what_breaks_a_stream_ends_that_stream_only(serve: Serve, name: str) -> None:
    attack, code = STREAM_FAULTS[name]
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(open_stream(peer) + attack(peer))
    got = await peer.next(RST_STREAM, GOAWAY)
    assert (got.kind, got.stream_id, got.code) == (RST_STREAM, 1, code)
    await peer.send(peer.headers(3, peer.request()) + peer.data(3, peer.message(), end=True))
    assert (await peer.end_of(3))["grpc-status"] == "0"
    assert attacked.target.alive == 0


@pytest.mark.parametrize("late", ["data", "headers"])
async def test_frames_after_the_end_of_a_stream_are_refused(serve: Serve, late: str) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    more = peer.data(1, b"x") if late == "data" else peer.headers(1, [("a", "b")], end=True)
    await peer.send(peer.headers(1, peer.request(HANG), end=True) + more)
    got = await peer.next(RST_STREAM, GOAWAY)
    assert got.code == STREAM_CLOSED


async def test_frames_that_were_under_way_when_a_stream_was_reset_do_no_harm(serve: Serve) -> None:
    """Ours may not have arrived when they were sent."""
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(open_stream(peer) + peer.window(1, 0))
    await peer.next(RST_STREAM)
    late = peer.data(1, b"x" * 100) + peer.window(1, 1) + peer.headers(1, [("a", "b")], end=True) + peer.reset(1)
    await peer.send(late + peer.headers(3, peer.request()) + peer.data(3, peer.message(), end=True))
    assert (await peer.end_of(3))["grpc-status"] == "0"


async def test_the_last_stream_id_is_served(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    last = (1 << 31) - 1
    await peer.send(peer.headers(last, peer.request()) + peer.data(last, peer.message(), end=True))
    assert (await peer.end_of(last))["grpc-status"] == "0"


# ---------------------------------------------------------------- the preface


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSX",
        bytes(24),
    ],
    ids=["http1", "tls", "typo", "zeros"],
)
async def test_what_is_no_preface_is_closed(serve: Serve, data: bytes) -> None:
    attacked = await serve()
    peer = await attacked.connect(preface=False)
    await peer.send(data)
    codes = {got.code for got in await peer.until_closed() if got.kind == GOAWAY}
    assert codes <= {PROTOCOL}


@pytest.mark.parametrize("kind", [DATA, HEADERS, PING, WINDOW_UPDATE, 0x42])
async def test_the_first_frame_has_to_be_settings(serve: Serve, kind: int) -> None:
    attacked = await serve()
    peer = await attacked.connect(preface=False)
    await peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + peer.frame(kind, END_HEADERS, kind % 2, bytes(8)))
    assert (await peer.goaway()).code == PROTOCOL


# ---------------------------------------------------------------- windows


async def test_a_sender_that_ignores_the_streams_window_loses_the_stream(serve: Serve) -> None:
    attacked = await serve(http2={"stream_window": 65_535, "adaptive_window": False})
    peer = await attacked.connect()
    await peer.send(open_stream(peer) + peer.data(1, bytes(16_384)) * 4)
    got = await peer.next(RST_STREAM, GOAWAY)
    assert got.code == FLOW_CONTROL
    assert attacked.target.messages == 0


async def test_a_sender_that_ignores_all_windows_loses_the_connection(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(open_stream(peer))
    await peer.flood([peer.data(1, bytes(16_384))] * (OVERSENT // 16_384))
    frames = await peer.until_closed()
    codes = [got.code for got in frames if got.kind in {RST_STREAM, GOAWAY}]
    assert codes
    assert codes[0] == FLOW_CONTROL


async def test_padding_counts_in_the_window(serve: Serve) -> None:
    attacked = await serve(http2={"stream_window": 65_535, "connection_window": 65_535, "adaptive_window": False})
    peer = await attacked.connect()
    await peer.send(open_stream(peer))
    await peer.flood([peer.frame(DATA, PADDED, 1, b"\xff" + b"x" + bytes(255))] * 256)
    assert FLOW_CONTROL in {got.code for got in await peer.until_closed() if got.kind in {RST_STREAM, GOAWAY}}


async def test_the_window_opens_only_for_what_the_handler_has_read(serve: Serve) -> None:
    attacked = await serve(http2={"stream_window": 65_535, "adaptive_window": False})
    peer = await attacked.connect()
    await peer.send(open_stream(peer) + peer.data(1, bytes(16_384)) * 3)
    await peer.send(peer.frame(PING, 0, 0, b"all read"))
    await peer.next(PING)
    assert not [got for got in peer.seen if got.kind == WINDOW_UPDATE and got.stream_id == 1]
