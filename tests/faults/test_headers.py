"""Attacks by header blocks: floods of CONTINUATION (2024), HPACK bombs and integers, forbidden fields, odd paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.rpc import CallContext

if TYPE_CHECKING:
    from tests.faults.conftest import Attacked, Peer

Serve = Callable[..., Awaitable["Attacked"]]

EMPTY_CONTINUATIONS = 100_000
LARGE_CONTINUATIONS = 4096
REFERENCES = 12_000
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4
PROTOCOL, COMPRESSION, CALM = 0x1, 0x9, 0xB


async def serves(peer: Peer, stream_id: int) -> bool:
    """Whether a call on the attacked connection succeeds."""
    await peer.send(peer.headers(stream_id, peer.request()) + peer.data(stream_id, peer.message(), end=True))
    return (await peer.end_of(stream_id)).get("grpc-status") == "0"


# ---------------------------------------------------------------- CONTINUATION


@pytest.mark.parametrize("size", [0, 1, 16_384])
async def test_a_header_block_without_end_is_cut_off(serve: Serve, size: int) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    begin = peer.frame(HEADERS, END_STREAM, 1, peer.headers(1, peer.request())[9:])
    more = peer.frame(CONTINUATION, 0, 1, (b"\x00\x01a\x00" * size)[:size])
    count = LARGE_CONTINUATIONS if size > 1000 else EMPTY_CONTINUATIONS
    await peer.flood([begin, *[more * 100] * (count // 100)])
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_continuations")


async def test_at_most_eight_continuations_are_taken(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    block = peer.headers(1, peer.request())[9:]
    pieces = [block[at : at + 6] for at in range(0, len(block), 6)]
    head, *middle = pieces[:8]
    last = b"".join(pieces[8:])

    def spread(stream_id: int, empty: int) -> bytes:
        return (
            peer.frame(HEADERS, 0, stream_id, head)
            + b"".join(peer.frame(CONTINUATION, 0, stream_id, piece) for piece in middle)
            + peer.frame(CONTINUATION, 0, stream_id) * empty
            + peer.frame(CONTINUATION, END_HEADERS, stream_id, last)
        )

    await peer.send(spread(1, 0) + peer.data(1, peer.message(), end=True))
    assert (await peer.end_of(1))["grpc-status"] == "0"
    await peer.send(spread(3, 1))
    assert (await peer.goaway()).code == CALM


async def test_a_string_that_never_ends_is_not_waited_for(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    literal = b"\x00\x01a\x7f" + bytes.fromhex("81ffff3f")  # a value of about 2^27 bytes
    await peer.flood(
        [
            peer.frame(HEADERS, 0, 1, literal),
            *[peer.frame(CONTINUATION, 0, 1, b"x" * 16_384)] * LARGE_CONTINUATIONS,
        ]
    )
    assert (await peer.goaway()).code == CALM


async def test_a_string_longer_than_its_block_is_a_compression_error(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x7f" + bytes.fromhex("81ffff3f") + b"x" * 100))
    assert (await peer.goaway()).code == COMPRESSION


# ---------------------------------------------------------------- HPACK


async def test_an_hpack_bomb_is_not_unpacked(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    large = b"\x40\x01a\x7f" + b"\x81\x1e" + b"x" * 4000  # a literal that enters the table, of 4000 bytes
    await peer.send(peer.frame(HEADERS, END_HEADERS | END_STREAM, 1, large + b"\xbe" * REFERENCES))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"header_list_too_large")


@pytest.mark.parametrize(
    "fields",
    [[("a", "")] * 1500, [("a", "")] * 130, [("a", "x" * 16_384)], [("a", "x" * 1000)] * 17],
    ids=["1500 empty", "130 empty", "one large", "seventeen"],
)
async def test_a_header_list_over_the_limit_is_refused_and_the_connection_goes_on(
    serve: Serve, fields: list[tuple[str, str]]
) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, [*peer.request("/test.Target/Counted"), *fields], end=True))
    end = await peer.end_of(1)
    assert (end[":status"], end.get("grpc-status", "8")) in {("200", "8"), ("431", "8")}
    assert attacked.target.started == 0
    assert await serves(peer, 3)


async def test_a_refused_header_list_leaves_the_tables_of_both_in_step(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    block = peer.encoder.encode([*peer.request(), ("x-kept", "value"), *[("a", "x" * 500)] * 40])
    await peer.send(peer.frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert (await peer.end_of(1)).get("grpc-status", "8") == "8"
    block = peer.encoder.encode([*peer.request(), ("x-kept", "value")])
    await peer.send(peer.frame(HEADERS, END_HEADERS, 3, block) + peer.data(3, peer.message(), end=True))
    assert (await peer.end_of(3))["grpc-status"] == "0"


@pytest.mark.parametrize(
    "block",
    [
        b"\xff" * 200,
        b"\x00\x7f" + b"\xff" * 200,
        b"\x00\x01a\x7f" + b"\xff" * 200,
        b"\x3f" + b"\xff" * 200,
        b"\x80",  # index 0
        b"\xff\x80\x80\x80\x80\x01",  # an index that is not in the table
        b"\x3f\xe2\x1f",  # a table of 4097 bytes
        b"\x20\x20\x20\x82",  # three changes of the table's size
        b"\x82\x20",  # such a change in the middle
        b"\x00\x81\xff\x00",  # a name that is no Huffman code
        b"\x40",
    ],
    ids=lambda block: block[:6].hex(),
)
async def test_a_block_that_breaks_hpack_ends_the_connection(serve: Serve, block: bytes) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert (await peer.goaway()).code == COMPRESSION


async def test_our_own_table_stays_small_whatever_the_peer_asks_for(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect(settings=[(0x1, (1 << 32) - 1)])
    peer.decoder.max_allowed_table_size = 4096
    for number in range(200):
        assert await serves(peer, 2 * number + 1)
    (connection,) = [one for one in attacked.server._connections if one.h2.peer.header_table_size > 4096]
    table = connection.h2._encoder.lexicon.table
    assert sum(len(name) + len(value) + 32 for name, value in table.entries) <= table.limit - table.room <= 4096


async def test_changing_the_table_size_all_the_time_costs_nothing(serve: Serve) -> None:
    """Each SETTINGS empties our table; there is a budget of them."""
    attacked = await serve()
    peer = await attacked.connect()
    await peer.flood(peer.settings([(0x1, size % 2 * 4096)]) for size in range(200))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_settings")


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    "extra",
    [
        ("x\r\ny", "1"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("X-Capital", "1"),
        ("x y", "1"),
        ("", "1"),
        ("connection", "close"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        (":status", "200"),
        (":path", "/test.Target/Echo"),
        (":unknown", "1"),
        (":method", "POST"),
    ],
    ids=repr,
)
async def test_a_field_that_http2_forbids_resets_its_stream_only(serve: Serve, extra: tuple[str, str]) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, [*peer.request("/test.Target/Counted"), extra]))
    got = await peer.next(RST_STREAM, GOAWAY)
    assert (got.kind, got.code) == (RST_STREAM, PROTOCOL)
    assert attacked.target.started == 0
    assert await serves(peer, 3)


@pytest.mark.parametrize("missing", [":method", ":scheme", ":path"])
async def test_a_request_without_its_pseudo_headers_is_none(serve: Serve, missing: str) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, [pair for pair in peer.request() if pair[0] != missing]))
    assert (await peer.next(RST_STREAM)).code == PROTOCOL
    assert await serves(peer, 3)


@pytest.mark.parametrize(
    "path",
    [
        "test.Target/Counted",
        "//test.Target/Counted",
        "/test.Target//Counted",
        "/test.Target/Counted/",
        "/test.Target/../test.Target/Counted",
        "/./test.Target/Counted",
        "/test.Target/Counted%00",
        "/test%2ETarget/Counted",
        "/test.Target/Counted?x=1",
        "/test.Target/Counted#x",
        "/test.target/counted",
        "/test.Target/__class__",
        "/test.Target/counted",
        "/",
        "*",
        "http://a/test.Target/Counted",
        "/test.Target/" + "x" * 7000,
        "/test.Target/Counted ",
    ],
    ids=lambda path: path[:40],
)
async def test_a_path_is_matched_exactly_or_not_at_all(serve: Serve, path: str) -> None:
    asked: list[str] = []

    def guard(context: CallContext) -> None:
        asked.append(context.method)

    attacked = await serve(guard=guard)
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request(path), end=True))
    end = await peer.end_of(1)
    assert end.get("grpc-status") == "12" or end.get("reset") == str(PROTOCOL)
    assert attacked.target.started == 0
    assert await serves(peer, 3)
    assert set(asked) == {"/test.Target/Echo"}


# ---------------------------------------------------------------- grpc-timeout


@pytest.mark.parametrize("timeout", ["1H", "99999999H", "5M", "10000m"])
async def test_a_timeout_of_the_grammar_is_taken(serve: Serve, timeout: str) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    fields = [*peer.request(), ("grpc-timeout", timeout)]
    await peer.send(peer.headers(1, fields) + peer.data(1, peer.message(), end=True))
    assert (await peer.end_of(1))["grpc-status"] == "0"


@pytest.mark.parametrize(
    "timeout",
    [
        "",
        "S",
        "1",
        "1s",
        "-1S",
        "+1S",
        "1 S",
        " 1S",
        "1S ",
        "1_0S",
        "0x1S",
        "1.5S",
        "123456789S",
        "1e3S",
        "\xb2S",
        "1SS",
    ],
)
async def test_any_other_timeout_is_an_error_and_no_handler_runs(serve: Serve, timeout: str) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    block = peer.encoder.encode(
        [
            *[(name, value, True) for name, value in peer.request("/test.Target/Counted")],
            (b"grpc-timeout", timeout.encode("latin-1"), True),
        ]
    )
    await peer.send(peer.frame(HEADERS, END_HEADERS, 1, block) + peer.data(1, peer.message(), end=True))
    end = await peer.end_of(1)
    assert end.get("grpc-status") in {"13", "3"} or end.get("reset") == str(PROTOCOL)
    assert attacked.target.started == 0


async def test_long_deadlines_leave_no_timers_behind(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    fields = [*peer.request(), ("grpc-timeout", "99999999H")]
    for number in range(200):
        stream_id = 2 * number + 1
        await peer.send(peer.headers(stream_id, fields) + peer.data(stream_id, peer.message(), end=True))
        assert (await peer.end_of(stream_id))["grpc-status"] == "0"
    wheel = attacked.server._wheel
    assert wheel is not None
    assert len(wheel) <= 2  # of the victim's calls
