"""Header blocks: what goes in comes out whatever the tables do, and what RFC 9113 §8 forbids is found."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hypothesis import example, given
from hypothesis import strategies as st

from orbit_lite.http2.errors import ConnectionFault, ErrorCode
from orbit_lite.http2.fields import Fields, HeaderBlock, HeaderDecoder, HeaderEncoder, HeaderMemory, Malformed

LIMIT, MOST = 16 * 1024, 128

REQUEST: Fields = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/s.S/M"),
    (":authority", "host"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
RESPONSE: Fields = ((":status", "200"), ("content-type", "application/grpc"))

#: Few names and values, so that blocks and entries repeat; and anything that latin-1 can say.
NAMES = st.sampled_from(
    [":authority", ":method", ":path", ":status", "accept-encoding", "content-type", "user-agent", "x", "y-bin"]
) | st.text(st.characters(max_codepoint=255), max_size=12)
VALUES = st.sampled_from(["", "POST", "200", "/s/M", "gzip", "v" * 200]) | st.text(
    st.characters(max_codepoint=255), max_size=300
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
SIZES = st.sampled_from([0, 1, 40, 64, 300, 4096, 1 << 20]) | st.integers(0, 5000)


@st.composite
def sessions(draw: st.DrawFn) -> list[Fields | int]:
    """Blocks, many of them repeated, and changes of the table's size between them."""
    known = draw(st.lists(FIELDS, min_size=1, max_size=5))
    return draw(st.lists(st.sampled_from(known) | FIELDS | SIZES, max_size=25))


def decoder() -> HeaderDecoder:
    return HeaderDecoder(HeaderMemory(LIMIT, MOST))


def encoder() -> HeaderEncoder:
    return HeaderEncoder(HeaderMemory(LIMIT, MOST))


def text(headers: Iterable[tuple[bytes | str, bytes | str]]) -> Fields:
    """Fields as the library gives them in its raw form."""
    return tuple((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers)  # type: ignore[arg-type]


# ---------------------------------------------------------------- against the library


@given(sessions())
@example([((("te", "a"),)), 100, 200, ((("te", "a"),))])
def test_another_decoder_reads_what_we_encode(session: list[Fields | int]) -> None:
    ours, theirs, reader = encoder(), Decoder(), decoder()
    for step in session:
        if isinstance(step, int):
            ours.limit_table(step)
            theirs.max_allowed_table_size = min(step, 4096)
        else:
            block = ours.encode(step)
            assert text(theirs.decode(block, raw=True)) == step
            assert reader.decode(block).fields == step


@given(sessions(), st.booleans())
def test_we_decode_what_another_encoder_writes(session: list[Fields | int], huffman: bool) -> None:
    encoder, ours = Encoder(), decoder()
    resized = 0
    for step in session:
        if isinstance(step, int):
            # More than two before one block are not allowed (RFC 7541 §4.2); the library forgets one that is repeated.
            if resized < 2 and encoder.header_table_size != min(step, 4096):
                encoder.header_table_size = min(step, 4096)
                resized += 1
        else:
            resized = 0
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in step]
            assert ours.decode(encoder.encode(headers, huffman=huffman)).fields == step


@given(st.data())
def test_memory_never_gives_a_stale_answer(data: st.DataObject) -> None:
    """Any blocks at all, in any order: also those that mean something else each time."""
    pieces = st.sampled_from(
        [
            b"\x82",  # indexed, static
            b"\xbe",  # indexed, the newest entry
            b"\xbf",  # indexed, the one before
            b"\x40\x01a\x01b",  # entered
            b"\x40\x01a\x01c",
            b"\x7e\x01d",  # entered, with the name of the newest
            b"\x00\x01a\x01b",  # not entered
            b"\x0f\x2f\x01e",  # not entered, with the name of the newest
            b"\x40\x01f\x7f\xd1\x1f" + b"g" * 4176,  # larger than the table: empties it
            b"\x40\x01h\x7f\xd1\x0e" + b"i" * 2000,
        ]
    )
    updates = st.sampled_from([b"", b"", b"", b"\x20", b"\x3f\x41", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f"])
    blocks = st.tuples(updates, st.lists(pieces, max_size=3).map(b"".join)).map(b"".join)
    known = data.draw(st.lists(blocks, min_size=1))
    memory, no_memory = HeaderMemory(LIMIT, MOST), HeaderMemory(LIMIT, MOST)
    others = HeaderDecoder(memory), HeaderDecoder(memory)
    for other in others:  # who share the memory, and say something else or the same
        with suppress(ConnectionFault):
            for block in data.draw(st.lists(st.sampled_from(known), max_size=10)):
                other.decode(block)
    remembering, forgetful = HeaderDecoder(memory), HeaderDecoder(no_memory)
    for block in data.draw(st.lists(st.sampled_from(known), max_size=30)):
        no_memory.forget()
        try:
            expected = forgetful.decode(block).fields
        except ConnectionFault:
            with pytest.raises(ConnectionFault):
                remembering.decode(block)
            return
        assert remembering.decode(block).fields == expected


def test_a_repeated_block_is_decoded_once() -> None:
    writer, ours = encoder(), decoder()
    writer.encode(REQUEST)
    block = writer.encode(REQUEST)
    assert writer.encode(REQUEST) is block
    ours.decode(encoder().encode(REQUEST))  # fills the table
    assert ours.recall(block) is None
    first = ours.decode(block)
    assert ours.decode(block) is first
    assert ours.recall(block) is first


def test_an_index_means_something_else_after_a_new_entry() -> None:
    ours = decoder()
    ours.decode(b"\x40\x01a\x011")
    assert ours.decode(b"\xbe").fields == (("a", "1"),)
    assert ours.decode(b"\xbe").fields == (("a", "1"),)
    ours.decode(b"\x40\x01a\x012")
    assert ours.decode(b"\xbe").fields == (("a", "2"),)


def test_a_size_update_counts_each_time_it_comes() -> None:
    ours = decoder()
    for _ in range(2):
        ours.decode(b"\x20\x82")
        ours.decode(b"\x3f\xe1\x1f\x82")
    ours.decode(b"\x20\x82")
    ours.decode(b"\x40\x01a\x011")  # larger than the table
    with pytest.raises(ConnectionFault):
        ours.decode(b"\xbe")


def test_the_memory_is_bounded() -> None:
    memory = HeaderMemory(LIMIT, MOST)
    writer, ours = HeaderEncoder(memory), HeaderDecoder(memory)
    most = 0
    for number in range(10_000):
        ours.decode(writer.encode((("x", str(number)),)))
        most = max(most, len(memory.heard.known) + len(memory.said.known))
    assert 100 < most < 2500
    writer.encode((("x", "y" * 5000),))
    assert all(len(block) <= 1024 for block in memory.said.known.values())


def test_tables_that_change_for_ever_are_not_all_remembered() -> None:
    memory, writer = HeaderMemory(LIMIT, MOST), Encoder()
    ours, here, steps = HeaderDecoder(memory), memory.heard, 0
    for number in range(100):
        ours.decode(writer.encode([(b"x", str(number).encode())]))
    while here.steps:
        ((_, here),) = here.steps.values()
        steps += 1
    assert steps == 8


def test_what_one_connection_has_learned_another_knows() -> None:
    memory = HeaderMemory(LIMIT, MOST)
    seen = []
    for _ in range(2):
        writer, reader = HeaderEncoder(memory), HeaderDecoder(memory)
        blocks = [writer.encode(REQUEST), writer.encode(REQUEST), writer.encode(RESPONSE)]
        seen.append((blocks, [reader.decode(block) for block in blocks]))
        assert reader.recall(blocks[1]) is seen[0][1][1]
    assert all(a is b for first, second in zip(*seen, strict=True) for a, b in zip(first, second, strict=True))


def test_connections_that_share_a_memory_keep_their_own_tables() -> None:
    memory = HeaderMemory(LIMIT, MOST)
    first, second = HeaderDecoder(memory), HeaderDecoder(memory)
    first.decode(b"\x40\x01a\x011")
    with pytest.raises(ConnectionFault):
        second.decode(b"\xbe")
    second = HeaderDecoder(memory)
    second.decode(b"\x40\x01a\x012")
    assert first.decode(b"\xbe").fields == (("a", "1"),)
    assert second.decode(b"\xbe").fields == (("a", "2"),)


# ---------------------------------------------------------------- the tables


def test_metadata_is_never_entered_into_a_table() -> None:
    writer, theirs = encoder(), Decoder()
    fields = (*REQUEST, ("authorization", "secret"), ("x-id", "1"))
    for _ in range(3):
        headers = theirs.decode(writer.encode(fields), raw=True)
    names = {bytes(name) for name, _ in theirs.header_table.dynamic_entries}
    assert {b"authorization", b"x-id"}.isdisjoint(names)
    never = {bytes(header[0]) for header in headers if isinstance(header, NeverIndexedHeaderTuple)}
    assert never == {b"authorization", b"x-id"}


def test_nothing_pushes_an_entry_out() -> None:
    writer, theirs = encoder(), Decoder()
    theirs.decode(writer.encode(REQUEST))
    first = list(theirs.header_table.dynamic_entries)
    for number in range(200):
        theirs.decode(writer.encode(((":path", f"/s/{number}" + "x" * 50),)))
    assert list(theirs.header_table.dynamic_entries)[-len(first) :] == first
    assert len(writer.encode(REQUEST)) == len(REQUEST)  # an index for each


def test_without_a_table_nothing_is_entered() -> None:
    writer, theirs = encoder(), Decoder()
    writer.limit_table(0)
    theirs.max_allowed_table_size = 0
    for _ in range(3):
        assert text(theirs.decode(writer.encode(REQUEST), raw=True)) == REQUEST
    assert not theirs.header_table.dynamic_entries


def test_a_larger_table_than_ours_is_not_used() -> None:
    writer = encoder()
    first = writer.encode(REQUEST)
    writer.limit_table(1 << 32)
    assert len(writer.encode(REQUEST)) < len(first)


def test_blocks_from_before_a_change_are_not_sent_after_it() -> None:
    writer, theirs = encoder(), Decoder()
    for size in (4096, 0, 4096, 300, 4096):
        writer.limit_table(size)
        theirs.max_allowed_table_size = size
        for _ in range(3):
            assert text(theirs.decode(writer.encode(REQUEST), raw=True)) == REQUEST


def test_after_a_change_too_nothing_pushes_an_entry_out() -> None:
    writer = encoder()
    first: Fields = ((":path", "/first"),)
    second: Fields = ((":path", "/second"),)
    writer.encode(first)
    writer.encode(second)
    writer.limit_table(60)  # room for one
    for _ in range(3):
        writer.encode(first)
        writer.encode(second)
    assert len(writer.encode(first)) == 1
    assert len(writer.encode(second)) > 1


def test_however_often_the_limit_changes_two_updates_tell_of_it() -> None:
    """RFC 7541 §4.2: the smallest size and the last."""
    writer = encoder()
    for size in (100, 200, 0, 300, 4096, 77):
        writer.limit_table(size)
    assert writer.encode(((":method", "GET"),)) == b"\x20\x3f\x2e\x82"


@pytest.mark.parametrize(
    "block",
    [
        b"\x3f\xe2\x1f",  # 4097
        b"\x20\x20\x20",
        b"\x82\x20",  # not at the beginning
        b"\x20\x3f\xe1\x1f\x20",
    ],
    ids=["too large", "three", "late", "three of both lengths"],
)
def test_size_updates_that_are_not_allowed_are_compression_errors(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        decoder().decode(block)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


@given(st.lists(st.binary(max_size=80), max_size=6))
@example([b"\x80"])
@example([b"\xff" * 40])
@example([b"\x7f" + b"\xff" * 60_000])
@example([b"\x00\x81\x00\x00"])
def test_any_bytes_give_fields_or_a_connection_fault(blocks: list[bytes]) -> None:
    ours = decoder()
    with suppress(ConnectionFault):
        for block in blocks:
            ours.decode(block)


# ---------------------------------------------------------------- limits


def lists(*sizes: int) -> bytes:
    """A block that enters nothing, with fields of these sizes as RFC 9113 §6.5.2 counts them."""
    return encoder().encode(tuple(("x", "y" * (size - 33)) for size in sizes))


def test_lists_up_to_the_limit_are_as_they_should_be() -> None:
    assert not decoder().decode(lists(LIMIT)).is_oversized
    assert not decoder().decode(lists(*[LIMIT // MOST] * MOST)).is_oversized


@pytest.mark.parametrize("block", [lists(LIMIT + 1), lists(*[33] * (MOST + 1)), lists(LIMIT, 33)])
def test_lists_over_the_limit_are_marked_and_still_decoded(block: bytes) -> None:
    oversized = decoder().decode(block)
    assert oversized.is_oversized
    assert oversized.fields


def test_a_list_far_over_the_limit_ends_the_connection() -> None:
    decoder().decode(lists(*[LIMIT] * 4))
    with pytest.raises(ConnectionFault) as caught:
        decoder().decode(lists(*[LIMIT] * 4, 33))
    assert (caught.value.code, caught.value.debug) == (ErrorCode.ENHANCE_YOUR_CALM, b"header_list_too_large")


def test_a_small_block_may_not_stand_for_a_large_list() -> None:
    """An entry of four kilobytes, named by one byte as often as a frame holds."""
    ours = decoder()
    ours.decode(b"\x40\x01a\x7f\xb1\x1e" + b"b" * 4016)
    with pytest.raises(ConnectionFault):
        ours.decode(b"\xbe" * 1000)


# ---------------------------------------------------------------- what may be said


def changed(name: str, value: str | None, fields: Fields = REQUEST) -> Fields:
    """The fields with another value for one of them, or without it."""
    return tuple((n, v if n != name else value) for n, v in fields if n != name or value is not None)  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [
        REQUEST,
        (*REQUEST, ("x", "")),
        (*REQUEST, ("x-bin", "AQI")),
        (*REQUEST, ("x", "a\tb")),
        (*REQUEST, ("x", "grün")),
        (*REQUEST, ("content-length", "0")),
        (*REQUEST, ("content-length", "7"), ("content-length", "7")),
        changed(":authority", None),
        changed(":path", "*", changed(":method", "OPTIONS")),
        ((":method", "CONNECT"), (":authority", "host:1")),
        ((":method", "CONNECT"), (":protocol", "p"), (":scheme", "http"), (":path", "/"), (":authority", "host")),
    ],
)
def test_what_http2_allows_in_requests_is_well_formed(fields: Fields) -> None:
    HeaderBlock(fields).check("request")


REQUEST_FAULTS: dict[str, Fields] = {
    "path without slash": changed(":path", "s.S/M"),
    "path empty": changed(":path", ""),
    "path missing": changed(":path", None),
    "path * of POST": changed(":path", "*"),
    "path twice": (*REQUEST[:4], (":path", "/s.S/M"), *REQUEST[4:]),
    "method missing": changed(":method", None),
    "method empty": changed(":method", ""),
    "scheme missing": changed(":scheme", None),
    "scheme empty": changed(":scheme", ""),
    "connect with a path": ((":method", "CONNECT"), (":authority", "host"), (":path", "/")),
    "connect with a scheme": ((":method", "CONNECT"), (":authority", "host"), (":scheme", "http")),
    "pseudo-header late": (*REQUEST, (":authority", "host")),
    "pseudo-header after another": (("x", "1"), *REQUEST),
    "pseudo-header of responses": ((":status", "200"), *REQUEST),
    "pseudo-header unknown": ((":x", "1"), *REQUEST),
    "nothing": (),
    "name with capitals": (*REQUEST, ("Upper", "1")),
    "name empty": (*REQUEST, ("", "1")),
    "name with a space": (*REQUEST, ("x y", "1")),
    "name with lines": (*REQUEST, ("x\r\ny", "1")),
    "name that is no ASCII": (*REQUEST, ("ü", "1")),
    "value with lines": (*REQUEST, ("x", "a\r\nb: c")),
    "value with NUL": (*REQUEST, ("x", "a\0b")),
    "value with DEL": (*REQUEST, ("x", "\x7f")),
    "value that begins with a blank": (*REQUEST, ("x", " a")),
    "value that ends with a blank": (*REQUEST, ("x", "a ")),
    "value that begins with a tab": (*REQUEST, ("x", "\ta")),
    "value that ends with a tab": (*REQUEST, ("x", "a\t")),
    "value of a blank": (*REQUEST, ("x", " ")),
    "value of a pseudo-header with a blank": changed(":path", "/s.S/M "),
    "value of a pseudo-header with lines": changed(":path", "/a\nb"),
    "connection": (*REQUEST, ("connection", "close")),
    "keep-alive": (*REQUEST, ("keep-alive", "1")),
    "proxy-connection": (*REQUEST, ("proxy-connection", "close")),
    "transfer-encoding": (*REQUEST, ("transfer-encoding", "chunked")),
    "upgrade": (*REQUEST, ("upgrade", "h2c")),
    "te": changed("te", "gzip"),
    "content-length of two": (*REQUEST, ("content-length", "1"), ("content-length", "2")),
    "content-length negative": (*REQUEST, ("content-length", "-1")),
    "content-length empty": (*REQUEST, ("content-length", "")),
    "content-length of other digits": (*REQUEST, ("content-length", "²")),
}


@pytest.mark.parametrize("name", REQUEST_FAULTS)
def test_what_http2_forbids_in_requests_is_malformed(name: str) -> None:
    block = HeaderBlock(REQUEST_FAULTS[name])
    for _ in range(2):  # and stays so
        with pytest.raises(Malformed):
            block.check("request")
    assert block.plain is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("response", RESPONSE),
        ("response", ((":status", "404"), ("content-length", "5"))),
        ("response", ((":status", "200"), ("x!#$%&'*+^_`|~", "any token"))),
        ("trailers", (("grpc-status", "0"),)),
        ("trailers", (("grpc-status", "5"), ("grpc-message", " as other libraries send it "))),
        ("trailers", (("x", "a\t b"), ("y", ""))),
        ("trailers", ()),
    ],
)
def test_what_http2_allows_in_responses_is_well_formed(kind: str, fields: Fields) -> None:
    HeaderBlock(fields).check(kind)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("response", ()),
        ("response", (("x", "1"),)),
        ("response", ((":status", ""),)),
        ("response", ((":status", "20"),)),
        ("response", ((":status", "2000"),)),
        ("response", ((":status", "٢٠٠"),)),
        ("response", ((":status", "200"), (":status", "200"))),
        ("response", (("x", "1"), (":status", "200"))),
        ("response", ((":status", "200"), (":path", "/"))),
        ("response", ((":status", "200"), ("Upper", "1"))),
        ("response", ((":status", "200"), ("connection", "close"))),
        ("trailers", ((":status", "200"),)),
        ("trailers", ((":path", "/"),)),
        ("trailers", (("grpc-status", "0\n"),)),
        ("trailers", (("grpc-status", "0 "),)),
        ("trailers", (("upgrade", "h2c"),)),
    ],
)
def test_what_http2_forbids_in_responses_is_malformed(kind: str, fields: Fields) -> None:
    with pytest.raises(Malformed):
        HeaderBlock(fields).check(kind)


def test_one_block_may_be_right_here_and_wrong_there() -> None:
    block = HeaderBlock((("grpc-status", "0"),))
    block.check("trailers")
    with pytest.raises(Malformed):
        block.check("response")
    block.check("trailers")
    assert block.plain == "trailers"


def test_blocks_that_need_attention_are_not_plain() -> None:
    for kind, block in (
        ("request", HeaderBlock((*REQUEST, ("content-length", "3")))),
        ("request", HeaderBlock(REQUEST, is_oversized=True)),
        ("response", HeaderBlock(((":status", "103"),))),
    ):
        block.check(kind)
        assert block.plain is None
    length = HeaderBlock((*REQUEST, ("content-length", "3")))
    length.check("request")
    assert length.content_length == 3
