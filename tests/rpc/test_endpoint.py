"""Addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ParseError
from orbit_lite.rpc.endpoint import Endpoint


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:50051", "http://localhost:50051"),
        ("http://localhost:50051/", "http://localhost:50051"),
        ("HTTP://LocalHost:50051", "http://localhost:50051"),
        ("grpc://10.0.0.1:7000", "http://10.0.0.1:7000"),
        ("https://node.example:8443", "https://node.example:8443"),
        ("grpcs://node.example:8443", "https://node.example:8443"),
        ("http://node-1", "http://node-1:80"),
        ("https://node-1", "https://node-1:443"),
        ("localhost:50051", "http://localhost:50051"),
        ("my_service.default.svc.cluster.local.:50051", "http://my_service.default.svc.cluster.local.:50051"),
        ("http://[::1]:50051", "http://[::1]:50051"),
        ("[0:0:0:0:0:0:0:1]:50051", "http://[::1]:50051"),
        ("http://[fe80::1%eth0]:1", "http://[fe80::1%eth0]:1"),
        ("http://[::1]", "http://[::1]:80"),
        ("unix:/run/orbit.sock", "unix:/run/orbit.sock"),
        ("unix:///run/orbit.sock", "unix:/run/orbit.sock"),
        ("unix:orbit.sock", "unix:orbit.sock"),
        ("http://bücher.example:80", "http://xn--bcher-kva.example:80"),
    ],
)
def test_addresses_have_one_canonical_form(text: str, url: str) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint.url == str(endpoint) == url
    assert Endpoint.parse(url) == endpoint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "is empty"),
        (" http://a:1", "blanks"),
        ("http://a:1\n", "blanks or control"),
        ("ftp://a:1", "unknown scheme 'ftp'"),
        ("localhost", "has no port; write HOST:PORT"),
        ("http://", "has no host"),
        ("http://:50051", "has no host"),
        ("http://a:", "port '' must be a number from 1 to 65535"),
        ("http://a:0", "port '0'"),
        ("http://a:65536", "port '65536'"),
        ("http://a:-1", "port '-1'"),
        ("http://a:٣", "port '٣'"),
        ("http://a:50051x", "port '50051x'"),
        ("http://a:1/path", "path, query or fragment"),
        ("http://a:1?x=1", "path, query or fragment"),
        ("http://user:password@a:1", "user name"),
        ("http://::1:50051", "in brackets"),
        ("::1", "in brackets"),
        ("http://[::1", "brackets"),
        ("http://[nonsense]:1", "brackets"),
        ("http://[::1]1", "brackets"),
        ("http://a b:1", "host that is no name"),
        ("http://-a:1", "host that is no name"),
        ("http://" + "a" * 300 + ":1", "host that is no name"),
        ("http://" + "ü" * 300 + ":1", "host that is no name"),
        ("unix:", "names no socket"),
        ("unix://host/path", "names no socket"),
        ("unix:/dir/", "names no socket"),
    ],
)
def test_mistakes_are_explained(text: str, hint: str) -> None:
    with pytest.raises(ParseError) as caught:
        Endpoint.parse(text)
    assert hint in caught.value.message
    assert "write" in caught.value.message or "must be" in caught.value.message


def test_the_authority_is_what_http_wants() -> None:
    assert Endpoint.parse("http://[::1]:5").authority == "[::1]:5"
    assert Endpoint.parse("https://a:443").authority == "a:443"
    assert Endpoint.parse("unix:/s").authority == "localhost"


def test_an_endpoint_is_a_key() -> None:
    assert len({Endpoint.parse("grpc://A:1"), Endpoint.parse("http://a:1/"), Endpoint.parse("a:1")}) == 1


@given(st.text(max_size=40))
def test_any_text_is_an_endpoint_or_a_parse_error(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except ParseError:
        return
    assert Endpoint.parse(endpoint.url) == endpoint
