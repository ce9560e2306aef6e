"""Blocks that are kept: the same frames as without, and never for another table than the one they were made with."""

from __future__ import annotations

import hpack
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.http2.blocks import ReadyBlock
from orbit_lite.http2.fields import Fields, HeaderEncoder, HeaderMemory
from orbit_lite.http2.frames import END_HEADERS, END_STREAM, HEAD, HEADERS

HEADS: list[Fields] = [
    ((":method", "POST"), (":path", "/a"), ("te", "trailers"), ("x-id", "1")),
    ((":method", "POST"), (":path", "/b"), ("te", "trailers")),
    (("grpc-status", "0"),),
    (("grpc-status", "5"), ("grpc-message", "gone")),
]


def encoder() -> HeaderEncoder:
    return HeaderEncoder(HeaderMemory(1 << 16, 100))


def test_what_is_written_are_the_frames_heads_and_the_block() -> None:
    head = ReadyBlock(encoder(), HEADS[0], before_data=True)
    assert head.write is not None
    assert head.write(head.word, END_HEADERS, 7, head.block, 5 << 8, END_STREAM, 7) == (
        HEAD.pack(len(head.block) << 8 | HEADERS, END_HEADERS, 7) + head.block + HEAD.pack(5 << 8, END_STREAM, 7)
    )
    tail = ReadyBlock(encoder(), HEADS[2], before_data=False)
    assert tail.write is not None
    assert tail.write(tail.word, END_HEADERS | END_STREAM, 9, tail.block) == (
        HEAD.pack(len(tail.block) << 8 | HEADERS, END_HEADERS | END_STREAM, 9) + tail.block
    )


def test_a_block_that_changes_the_table_is_good_for_once() -> None:
    writer = encoder()
    first = ReadyBlock(writer, HEADS[0], before_data=True)
    assert first.lexicon is None
    second = ReadyBlock(writer, HEADS[0], before_data=True)
    assert second.lexicon is writer.lexicon
    assert second.block != first.block


def test_one_that_may_need_several_frames_is_not_written_as_one() -> None:
    fields: Fields = (("x-long", "x" * (1 << 14)),)
    assert ReadyBlock(encoder(), fields, before_data=False).write is None


@given(st.lists(st.sampled_from([*range(len(HEADS)), "smaller", "larger"])))
def test_blocks_that_are_used_again_say_the_same_to_the_peer(steps: list[int | str]) -> None:
    writer, reader = encoder(), hpack.Decoder()
    kept: ReadyBlock | None = None
    for step in steps:
        if isinstance(step, str):
            writer.limit_table(0 if step == "smaller" else 4096)
            continue
        fields = HEADS[step]
        if kept is None or kept.fields is not fields or kept.lexicon is not writer.lexicon:
            kept = ReadyBlock(writer, fields, before_data=True)
        assert [(str(name), str(value)) for name, value in reader.decode(kept.block)] == list(fields)
