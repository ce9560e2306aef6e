"""What header blocks say (grpc/doc/PROTOCOL-HTTP2.md)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import Status
from orbit_lite.http2 import HeaderBlock
from orbit_lite.rpc.call import (
    RESPONSE_HEAD,
    HttpRefusal,
    StatusRefusal,
    read_outcome,
    read_request,
    read_response,
    request_headers,
    response_headers,
    trailer_headers,
)
from orbit_lite.rpc.details import StatusDetail
from orbit_lite.rpc.errors import Internal, RpcError, StatusReply, Unavailable, Unimplemented, UnknownError
from orbit_lite.rpc.metadata import Headers, Metadata, MetadataError

KNOWN = {"/s.S/M": object()}
GOOD: Headers = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/s.S/M"),
    (":authority", "a"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def block(fields: Iterable[tuple[str, str]], *, is_oversized: bool = False) -> HeaderBlock:
    return HeaderBlock(tuple(fields), is_oversized=is_oversized)


def changed(name: str, value: str | None) -> Headers:
    return (
        tuple((key, text) for key, text in GOOD if key != name)
        if value is None
        else tuple((key, value if key == name else text) for key, text in GOOD)
    )


# ---------------------------------------------------------------- requests


def test_a_request_is_read() -> None:
    head = read_request(block([*GOOD, ("grpc-timeout", "5S"), ("user-agent", "test"), ("x", "1"), ("x", "2")]), KNOWN)
    assert (head.path, head.timeout, head.user_agent) == ("/s.S/M", 5.0, "test")
    assert head.metadata == Metadata([("x", "1"), ("x", "2")])


def test_a_request_without_te_or_authority_is_tolerated() -> None:
    assert read_request(block(changed("te", None)), KNOWN).timeout is None
    assert read_request(block(changed(":authority", None)), KNOWN).path == "/s.S/M"


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc;v=1"]
)
def test_content_types_of_grpc_are_taken(content_type: str) -> None:
    assert read_request(block(changed("content-type", content_type)), KNOWN).path == "/s.S/M"


@pytest.mark.parametrize("content_type", [None, "", "application/grpcfoo", "application/json", "text/html"])
def test_other_content_types_are_answered_with_http_415(content_type: str | None) -> None:
    with pytest.raises(HttpRefusal) as caught:
        read_request(block(changed("content-type", content_type)), KNOWN)
    assert caught.value.status == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "post"])
def test_only_post_is_taken(method: str) -> None:
    with pytest.raises(HttpRefusal) as caught:
        read_request(block(changed(":method", method)), KNOWN)
    assert caught.value.status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/s.S/m",
        "/s.S/M/",
        "//s.S/M",
        "/s.S",
        "/",
        "/s.S/../s.S/M",
        "/s.S/M?x",
        "/s.S/M%00",
        "/s.S/__class__",
        "/" + "x" * 7000,
    ],
)
def test_methods_are_matched_exactly(path: str) -> None:
    with pytest.raises(StatusRefusal) as caught:
        read_request(block(changed(":path", path)), KNOWN)
    assert caught.value.status is Status.UNIMPLEMENTED


@pytest.mark.parametrize("timeout", ["", "1", "123456789S", "-1S", "1 S"])
def test_a_bad_timeout_is_an_internal_error(timeout: str) -> None:
    with pytest.raises(StatusRefusal, match="grpc-timeout") as caught:
        read_request(block([*GOOD, ("grpc-timeout", timeout)]), KNOWN)
    assert caught.value.status is Status.INTERNAL


def test_an_unknown_encoding_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(StatusRefusal) as caught:
        read_request(block([*GOOD, ("grpc-encoding", "br")]), KNOWN)
    assert caught.value.status is Status.UNIMPLEMENTED
    assert ("grpc-accept-encoding", "identity,gzip") in RESPONSE_HEAD
    head = read_request(block([*GOOD, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "deflate, gzip")]), KNOWN)
    assert (head.encoding, head.accepts_gzip) == ("gzip", True)
    assert head.path == "/s.S/M"


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(StatusRefusal, match="too many or too large") as caught:
        read_request(block(GOOD, is_oversized=True), KNOWN)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


def test_a_repeated_block_is_read_once() -> None:
    repeated = block(GOOD)
    assert read_request(repeated, KNOWN) is read_request(repeated, KNOWN)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=6))
def test_any_header_block_is_a_request_or_a_refusal(headers: list[tuple[str, str]]) -> None:
    with suppress(HttpRefusal, StatusRefusal):
        read_request(block((*GOOD, *headers)), KNOWN)


def test_a_request_is_written_in_the_order_of_the_specification() -> None:
    metadata = Metadata([("x", "1"), ("y-bin", b"\1")])
    headers = request_headers("/s.S/M", scheme="http", authority="a:1", timeout=0.5, user_agent="u", metadata=metadata)
    assert headers == (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/s.S/M"),
        (":authority", "a:1"),
        ("te", "trailers"),
        ("grpc-timeout", "500000u"),
        ("content-type", "application/grpc"),
        ("user-agent", "u"),
        ("grpc-accept-encoding", "identity,gzip"),
        ("x", "1"),
        ("y-bin", "AQ"),
    )
    assert read_request(block(headers), KNOWN).timeout == 0.5


# ---------------------------------------------------------------- responses


def test_a_response_begins_with_its_metadata() -> None:
    headers = response_headers({"x": "1"})
    assert headers[:2] == ((":status", "200"), ("content-type", "application/grpc"))
    assert read_response(block(headers)) == Metadata({"x": "1"})
    with pytest.raises(MetadataError):
        response_headers({"x": "\n"})


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([(":status", "503"), ("content-type", "text/html")], Unavailable),
        ([(":status", "404")], Unimplemented),
        ([(":status", "200"), ("content-type", "text/html")], UnknownError),
        ([(":status", "200")], UnknownError),
        ([(":status", "2OO"), ("content-type", "application/grpc")], UnknownError),
        ([], UnknownError),
        ([(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "br")], Internal),
    ],
)
def test_what_is_no_grpc_response_becomes_an_error(headers: Headers, kind: type[RpcError]) -> None:
    with pytest.raises(kind):
        read_response(block(headers))


@pytest.mark.parametrize(
    "reply",
    [
        StatusReply(Status.OK, ""),
        StatusReply(Status.NOT_FOUND, "nicht da ☺\n"),
        StatusReply(Status.ABORTED, "why", (StatusDetail("t/x", b"\0\1"),), (("x", "1"), ("y-bin", b"\2"))),
    ],
)
def test_trailers_say_how_the_call_ended(reply: StatusReply) -> None:
    outcome = read_outcome(block(trailer_headers(reply)))
    assert (outcome.status, outcome.message, outcome.details) == reply[:3]
    assert outcome.metadata.items() == reply.metadata


@pytest.mark.parametrize("text", ["", "00", "017", "17", "-1", "+1", "1.0", "x", "99999999999", "１"])
def test_a_status_that_is_none_is_unknown_and_its_text_is_kept(text: str) -> None:
    outcome = read_outcome(block([("grpc-status", text), ("grpc-message", "why")]))
    assert outcome.status is Status.UNKNOWN
    assert outcome.message.endswith("is none: why")


def test_a_missing_status_is_judged_by_the_http_status() -> None:
    assert read_outcome(block([])).status is Status.UNKNOWN
    assert read_outcome(block([("x", "1")])).status is Status.UNKNOWN
    assert read_outcome(block([(":status", "503")])).status is Status.UNAVAILABLE
    assert read_outcome(block([(":status", "200"), ("content-type", "application/grpc")])).status is Status.UNKNOWN
    assert read_outcome(block([(":status", "503"), ("grpc-status", "5")])).status is Status.NOT_FOUND


@pytest.mark.parametrize("details", ["!!", "", "AAAA"])
def test_broken_details_are_no_details(details: str) -> None:
    outcome = read_outcome(block([("grpc-status", "10"), ("grpc-status-details-bin", details)]))
    assert (outcome.status, outcome.details) == (Status.ABORTED, ())


def test_trailers_are_written_whatever_the_handler_gave() -> None:
    reply = StatusReply(Status.ABORTED, "☺" * 5000, ("no message",), (("bad name", "1"), ("x", "\n"), ("y", "1")))
    headers = trailer_headers(reply)
    assert [name for name, _ in headers] == ["grpc-status", "grpc-message", "y"]
    assert sum(len(name) + len(value) + 32 for name, value in headers) < 8192
    outcome = read_outcome(block(headers))
    assert outcome.message.startswith("☺☺☺")
    assert outcome.message.endswith("...")
    assert "\ufffd" not in outcome.message.removesuffix("...")[:-1]


def test_details_too_large_for_trailers_are_left_out() -> None:
    headers = trailer_headers(StatusReply(Status.ABORTED, "why", (StatusDetail("t/x", b"x" * 20_000),)))
    assert [name for name, _ in headers] == ["grpc-status", "grpc-message"]
