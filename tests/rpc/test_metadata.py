"""Metadata and grpc-message (grpc/doc/PROTOCOL-HTTP2.md, `Custom-Metadata`, `Status-Message`)."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import OrbitError
from orbit_lite.rpc.metadata import Metadata, MetadataError, decode_message, encode_message

names = st.from_regex(r"x-[0-9a-z_.-]{0,12}", fullmatch=True).filter(lambda name: not name.endswith("-bin"))
binary_names = names.map(lambda name: name + "-bin")
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip)
pairs = st.lists(st.one_of(st.tuples(names, texts), st.tuples(binary_names, st.binary())), max_size=8)


@given(pairs)
def test_what_is_sent_is_received_in_order_with_all_duplicates(items: list[tuple[str, str | bytes]]) -> None:
    metadata = Metadata(items)
    assert Metadata.decode(metadata.encode()) == metadata


@given(st.binary())
def test_binary_values_are_sent_unpadded_and_read_padded_or_not(value: bytes) -> None:
    ((name, text),) = Metadata({"x-bin": value}).encode()
    assert name == "x-bin"
    assert not text.endswith("=")
    assert Metadata.decode([("x-bin", text)]) == Metadata.decode([("x-bin", b64encode(value).decode())])


def test_binary_values_joined_by_commas_are_split_before_decoding() -> None:
    assert Metadata.decode([("x-bin", "AQ==, Ag,Aw=="), ("x-bin", "BA")]).getall("x-bin") == [
        b"\1",
        b"\2",
        b"\3",
        b"\4",
    ]


@pytest.mark.parametrize("text", ["!!!", "A", "AQ=X", "ü"])
def test_a_value_that_is_no_base64_is_left_out(text: str) -> None:
    assert Metadata.decode([("a-bin", text), ("b", "kept")]).items() == (("b", "kept"),)


def test_headers_of_the_call_itself_are_not_metadata() -> None:
    headers = [
        (":path", "/x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "u"),
        ("grpc-timeout", "1S"),
        ("grpc-foo", "1"),
        ("x", "1"),
    ]
    assert Metadata.decode(headers).keys() == ["x"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("a\r\nb", "1", "only 0-9 a-z"),
        ("Upper", "1", "only 0-9 a-z"),
        ("", "1", "only 0-9 a-z"),
        ("ü", "1", "only 0-9 a-z"),
        (":path", "1", "only 0-9 a-z"),
        ("grpc-foo", "1", "reserved"),
        ("te", "trailers", "reserved"),
        ("content-type", "text/plain", "reserved"),
        ("connection", "close", "reserved"),
        ("x", "a\nb", "control or non-Latin"),
        ("x", "a\rb", "control or non-Latin"),
        ("x", "a\0b", "control or non-Latin"),
        ("x", "\x7f", "control or non-Latin"),
        ("x", "☺", "control or non-Latin"),
        ("x", b"bytes", "must be str"),
        ("x-bin", "text", "must be bytes"),
    ],
)
def test_what_may_not_be_sent_raises_a_value_error(name: str, value: str | bytes, problem: str) -> None:
    with pytest.raises(MetadataError, match=problem) as caught:
        Metadata([(name, value)]).encode()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, OrbitError)
    assert "\n" not in str(caught.value)


def test_a_value_that_http_allows_passes_through_and_back() -> None:
    received = Metadata.decode([("x", " caf\xe9 ")])
    assert received["x"] == "café"
    assert Metadata.decode(received.encode()) == received


def test_reading_is_like_a_multi_dictionary() -> None:
    metadata = Metadata([("a", "1"), ("b", "2"), ("a", "3")])
    assert metadata["a"] == metadata.get("a") == "1"
    assert metadata.getall("a") == ["1", "3"]
    assert metadata.get("c") is None
    assert metadata.get("c", "d") == "d"
    assert "b" in metadata
    assert "c" not in metadata
    assert list(metadata) == metadata.keys() == ["a", "b", "a"]
    assert len(metadata) == 3
    assert Metadata({"a": "1"}) == Metadata([("a", "1")])
    assert hash(Metadata({"a": "1"})) == hash(Metadata([("a", "1")]))
    with pytest.raises(KeyError):
        metadata["c"]


def test_values_are_not_shown() -> None:
    assert "secret" not in repr(Metadata({"authorization": "secret"}))


def test_a_message_is_percent_encoded_as_the_specification_says() -> None:
    assert encode_message("a%b\n☺") == "a%25b%0A%E2%98%BA"
    assert encode_message("! #$&~") == "! #$&~"


def test_a_message_with_blanks_at_its_ends_is_a_value_that_http2_allows() -> None:
    assert encode_message("  not yet  ") == "%20 not yet %20"
    assert encode_message(" ") == "%20"
    assert decode_message("%20 not yet %20") == decode_message("  not yet  ") == "  not yet  "


@given(st.text())
def test_a_message_survives_and_its_encoding_is_printable_ascii(text: str) -> None:
    encoded = encode_message(text)
    assert re.fullmatch("[ -~]*", encoded)
    assert decode_message(encoded) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("encoded", "text"),
    [("%", "%"), ("%4", "%4"), ("100%", "100%"), ("%zz%41", "%zzA"), ("%ff", "\ufffd"), ("\xff", "\ufffd")],
)
def test_a_broken_message_is_read_as_far_as_it_goes(encoded: str, text: str) -> None:
    assert decode_message(encoded) == text


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_reading_a_message_never_raises(encoded: str) -> None:
    decode_message(encoded)


def test_metadata_of_many_calls_is_checked_once() -> None:
    metadata = Metadata({"name": "value"})
    assert metadata.encode() is metadata.encode()
    broken = Metadata({"name": "line\nbreak"})
    for _ in range(2):
        with pytest.raises(MetadataError):
            broken.encode()
