"""call: any server that has reflection, JSON in and out."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbit_lite.cli.call import parse_header, read_data, split_method
from orbit_lite.errors import ParseError

Orbit = Callable[..., Any]

CHECK = "grpc.health.v1.Health/Check"


def test_services_and_methods_are_listed(orbit: Orbit, node: dict[str, Any]) -> None:
    services = orbit("call", node["url"], "list").out.split()
    assert {"grpc.health.v1.Health", "orbit.shared.ConnectionService", "orbit.lite.NodeAdmin"} <= set(services)
    assert orbit("call", node["url"], "list", "--json").document == services
    methods = orbit("call", node["url"], "list", "grpc.health.v1.Health").out.split()
    assert methods == [f"grpc.health.v1.Health/{method}" for method in ("Check", "List", "Watch")]


@pytest.mark.parametrize(
    ("symbol", "declaration"),
    [
        ("grpc.health.v1.Health", "service Health {"),
        (CHECK, "rpc Check("),
        ("grpc.health.v1.HealthCheckRequest", "message HealthCheckRequest {"),
        ("grpc.health.v1.HealthCheckResponse.ServingStatus", "enum ServingStatus {"),
    ],
)
def test_symbols_are_described(orbit: Orbit, node: dict[str, Any], symbol: str, declaration: str) -> None:
    assert declaration in orbit("call", node["url"], "describe", symbol).out
    assert declaration in orbit("call", node["url"], "describe", symbol, "--json").document[symbol]


def test_without_a_symbol_all_services_are_described(orbit: Orbit, node: dict[str, Any]) -> None:
    told = orbit("call", node["url"], "describe").out
    assert told.count("\nservice ") + told.startswith("service ") == len(orbit("call", node["url"], "list").out.split())


@pytest.mark.parametrize("name", [CHECK, f"/{CHECK}", "grpc.health.v1.Health.Check"])
def test_a_unary_method_is_called(orbit: Orbit, node: dict[str, Any], name: str) -> None:
    told = orbit("call", node["url"], name)
    assert (told.status, told.document) == (0, {"status": "SERVING"})


def test_the_request_is_json_from_the_line_a_file_or_stdin(
    orbit: Orbit, node: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = json.dumps({"addressableType": "Nothing", "limit": 3})
    file = tmp_path / "request.json"
    file.write_text(request, encoding="utf-8")
    for data in (request, f"@{file}", "@-"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(request.encode())))
        assert orbit("call", node["url"], "orbit.lite.NodeAdmin/ListActors", "-d", data).document == {}


def test_each_message_of_a_stream_is_a_line(orbit: Orbit, node: dict[str, Any]) -> None:
    """A watch has no end: what came is printed, then the deadline is reported."""
    told = orbit("call", node["url"], "grpc.health.v1.Health/Watch", "--timeout", "1s")
    assert (told.status, told.out) == (1, '{"status": "SERVING"}\n')
    assert "DEADLINE_EXCEEDED" in told.err


def test_a_client_stream_is_refused_in_words(orbit: Orbit, node: dict[str, Any]) -> None:
    told = orbit("call", node["url"], "orbit.shared.ConnectionService/OpenStream")
    assert told.status == 1
    assert "takes a stream of requests" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.such.Service/Method"], "no.such.Service"),
        (["grpc.health.v1.Health/Chekc"], "did you mean Check?"),
        (["nonsense"], "write package.Service/Method"),
        ([CHECK, "-d", '{"srevice": "x"}'], "srevice"),
        ([CHECK, "-d", '{"service": 7}'], "service"),
        ([CHECK, "-d", "[]"], "object"),
        ([CHECK, "-d", "{"], "--data is no JSON"),
        ([CHECK, "-d", '{"service": "", "service": "no.such"}'], "'service' appears twice"),
        ([CHECK, "-d", "@/nonexistent"], "cannot read '/nonexistent'"),
        ([CHECK, "-d", '{"service": "no.such"}'], "NOT_FOUND"),
        ([CHECK, "-H", "nonsense"], "write 'NAME: VALUE'"),
        ([CHECK, "-H", "grpc-timeout: 1S"], "grpc-timeout"),
        ([CHECK, "-H", "x: \x07"], "x"),
        (["describe", "no.such.Symbol"], "no.such.Symbol"),
    ],
)
def test_mistakes_are_told_in_one_line(orbit: Orbit, node: dict[str, Any], arguments: list[str], message: str) -> None:
    told = orbit("call", node["url"], *arguments)
    assert (told.status, told.out) == (1, "")
    first, *hints = told.err.splitlines()
    assert re.match(r"error: .*\(ORB-\d{4}\)$", first)
    assert message in first
    assert len(hints) <= 1


def test_plaintext_contradicts_tls(orbit: Orbit) -> None:
    assert orbit("call", "--plaintext", "https://localhost:1", "list").status == 2
    assert orbit("call", "--plaintext", "localhost:1", "list").status == 1


def test_a_request_in_the_place_of_a_symbol_is_wrong_use(orbit: Orbit) -> None:
    told = orbit("call", "localhost:1", CHECK, "{}")
    assert told.status == 2
    assert "--data" in told.err


def test_headers_are_names_and_values() -> None:
    assert parse_header("X-Tenant:  a: b ") == ("x-tenant", "a: b")
    assert parse_header("token-bin: AAEC") == ("token-bin", b"\x00\x01\x02")
    assert parse_header("token-bin: AAE") == ("token-bin", b"\x00\x01")
    with pytest.raises(ParseError, match="base64"):
        parse_header("token-bin: ?")


def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_data(f"@{tmp_path / 'x.json'}") == {"a": 1}
    (tmp_path / "x.json").write_bytes(b"\xff")
    with pytest.raises(ParseError, match="not UTF-8"):
        read_data(f"@{tmp_path / 'x.json'}")


@pytest.mark.parametrize("name", ["", "/", "Service", "/Method", "Service/"])
def test_half_a_method_is_none(name: str) -> None:
    with pytest.raises(ParseError):
        split_method(name)
