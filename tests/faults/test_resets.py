"""Attacks that make the server begin work and throw it away: rapid reset (CVE-2023-44487) and MadeYouReset
(CVE-2025-8671), and streams above the limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Attacked, Peer

RESETS = 20_000
ENDS = 2_000
OPENS = 2_000
MAX_STREAMS = 256
BURST = 200
CALM, PROTOCOL, REFUSED = 0xB, 0x1, 0x7
RST_STREAM, GOAWAY = 0x3, 0x7

Serve = Callable[..., Awaitable["Attacked"]]


def ids(count: int) -> Iterator[int]:
    """Stream ids of a client."""
    return iter(range(1, 2 * count, 2))


@pytest.mark.parametrize("path", ["/test.Target/Hang", "/test.Target/Stubborn", "/test.Target/Echo"])
async def test_rapid_reset_ends_the_connection_and_starts_no_crowd(serve: Serve, path: str) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request(path)
    await peer.flood(peer.headers(stream_id, head) + peer.reset(stream_id) for stream_id in ids(RESETS))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_resets")
    assert goaway.last_stream_id < 2 * 1000
    assert attacked.target.started <= BURST + MAX_STREAMS
    assert attacked.target.most_alive <= MAX_STREAMS


async def test_rapid_reset_of_handlers_that_have_begun_is_counted_too(serve: Serve) -> None:
    """The reset comes a turn later, when the handler runs."""
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request("/test.Target/Stubborn")
    for stream_id in ids(RESETS):
        if not await peer.send(peer.headers(stream_id, head)):
            break
        await attacked.call()
        if not await peer.send(peer.reset(stream_id)):
            break
        if stream_id > 2 * 1000:
            break
    assert attacked.target.started <= BURST + MAX_STREAMS
    assert attacked.target.most_alive <= MAX_STREAMS
    assert (await peer.goaway()).code == CALM


def _window_of_zero(peer: Peer, stream_id: int) -> bytes:
    return peer.window(stream_id, 0)


def _overflow(peer: Peer, stream_id: int) -> bytes:
    return peer.window(stream_id, (1 << 31) - 1)


def _headers_again(peer: Peer, stream_id: int) -> bytes:
    return peer.headers(stream_id, peer.request())


def _depends_on_itself(peer: Peer, stream_id: int) -> bytes:
    return peer.frame(0x2, 0, stream_id, stream_id.to_bytes(4, "big") + b"\0")


def _short_priority(peer: Peer, stream_id: int) -> bytes:
    return peer.frame(0x2, 0, stream_id, b"1234")


@pytest.mark.parametrize(
    "fault", [_window_of_zero, _overflow, _headers_again, _depends_on_itself, _short_priority], ids=lambda f: f.__name__
)
async def test_made_you_reset_is_charged_like_a_reset(serve: Serve, fault: Callable[[Peer, int], bytes]) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request("/test.Target/Stubborn")
    await peer.flood(peer.headers(stream_id, head) + fault(peer, stream_id) for stream_id in ids(ENDS))
    goaway = await peer.goaway()
    assert goaway.code == CALM
    assert goaway.last_stream_id < 2 * 1000
    assert attacked.target.started <= BURST + MAX_STREAMS
    assert attacked.target.most_alive <= MAX_STREAMS


async def test_data_after_the_end_is_charged_like_a_reset(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request("/test.Target/Stubborn")
    await peer.flood(peer.headers(stream_id, head, end=True) + peer.data(stream_id, b"more") for stream_id in ids(ENDS))
    goaway = await peer.goaway()
    assert goaway.code in {CALM, 0x5}  # either the budget, or the connection at once
    assert attacked.target.most_alive <= MAX_STREAMS


async def test_a_content_length_that_lies_is_charged_like_a_reset(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = [*peer.request("/test.Target/Stubborn"), ("content-length", "3")]
    await peer.flood(peer.headers(stream_id, head) + peer.data(stream_id, b"four") for stream_id in ids(ENDS))
    assert (await peer.goaway()).code == CALM
    assert attacked.target.most_alive <= MAX_STREAMS


async def test_malformed_requests_are_charged_like_resets(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = [*peer.request(), ("connection", "close")]
    await peer.flood(peer.headers(stream_id, head) for stream_id in ids(ENDS))
    assert (await peer.goaway()).code == CALM


async def test_streams_above_the_limit_are_refused_and_then_the_connection(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request("/test.Target/Hang")
    await peer.flood(peer.headers(stream_id, head) for stream_id in ids(OPENS))
    frames = await peer.until_closed()
    refused = [got for got in frames if got.kind == RST_STREAM]
    assert {got.code for got in refused} == {REFUSED}
    assert len(refused) >= MAX_STREAMS
    assert frames[-1].kind == GOAWAY
    assert (frames[-1].code, frames[-1].debug) == (CALM, b"too_many_streams")
    assert attacked.target.most_alive <= MAX_STREAMS


async def test_requests_right_behind_the_preface_are_refused_without_penalty(serve: Serve) -> None:
    """A client may open streams before it has read our limit (RFC 9113 §6.5.3): that is no attack."""
    attacked = await serve()
    peer = await attacked.connect(preface=False)
    head = peer.request("/test.Target/Hang")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + peer.settings()
    await peer.send(preface + b"".join(peer.headers(stream_id, head) for stream_id in ids(500)))
    for _ in range(500 - MAX_STREAMS):
        assert (await peer.next(RST_STREAM)).code == REFUSED
    assert attacked.target.most_alive <= MAX_STREAMS
    await peer.send(peer.frame(0x6, 0, 0, b"alive???"))
    assert (await peer.next(0x6)).payload == b"alive???"


async def test_a_reset_frees_no_place_while_the_handler_cleans_up(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request("/test.Target/Stubborn")
    await peer.send(b"".join(peer.headers(stream_id, head) for stream_id in ids(MAX_STREAMS)))
    while attacked.target.started < MAX_STREAMS:
        await attacked.call()
    await peer.send(b"".join(peer.reset(stream_id) for stream_id in ids(100)))
    await peer.send(peer.headers(2 * MAX_STREAMS + 1, head))
    assert (await peer.next(RST_STREAM)).code == REFUSED
    assert attacked.target.most_alive == MAX_STREAMS
    attacked.target.release.set()
    await attacked.settle()
    await peer.send(peer.headers(2 * MAX_STREAMS + 3, head, end=True))
    assert (await peer.end_of(2 * MAX_STREAMS + 3))["grpc-status"] == "0"
