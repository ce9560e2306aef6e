"""Translation of HTTP and HTTP/2 codes (grpc/doc/http-grpc-status-mapping.md, PROTOCOL-HTTP2.md "Errors")."""

from __future__ import annotations

import pytest

from orbit_lite.rpc.status import ErrorCode, Status, status_of_http, status_of_reset


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, Status.INTERNAL),
        (401, Status.UNAUTHENTICATED),
        (403, Status.PERMISSION_DENIED),
        (404, Status.UNIMPLEMENTED),
        (429, Status.UNAVAILABLE),
        (431, Status.INTERNAL),
        (502, Status.UNAVAILABLE),
        (503, Status.UNAVAILABLE),
        (504, Status.UNAVAILABLE),
    ],
)
def test_http_status_codes_of_the_table(code: int, status: Status) -> None:
    assert status_of_http(code) is status


@pytest.mark.parametrize("code", [0, 100, 200, 204, 302, 402, 405, 415, 418, 500, 501, 599])
def test_every_other_http_status_is_unknown(code: int) -> None:
    assert status_of_http(code) is Status.UNKNOWN


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, Status.INTERNAL),
        (1, Status.INTERNAL),
        (2, Status.INTERNAL),
        (3, Status.INTERNAL),
        (4, Status.INTERNAL),
        (5, Status.UNKNOWN),
        (6, Status.INTERNAL),
        (7, Status.UNAVAILABLE),
        (8, Status.CANCELLED),
        (9, Status.INTERNAL),
        (10, Status.INTERNAL),
        (11, Status.RESOURCE_EXHAUSTED),
        (12, Status.PERMISSION_DENIED),
        (13, Status.UNKNOWN),
        (14, Status.UNKNOWN),
        (0xFF, Status.UNKNOWN),
    ],
)
def test_reset_codes(code: int, status: Status) -> None:
    assert status_of_reset(code) is status


def test_error_codes_have_names_known_or_not() -> None:
    assert ErrorCode.name_of(0xB) == "ENHANCE_YOUR_CALM"
    assert ErrorCode.name_of(0xFF) == "error code 0xff"
