from __future__ import annotations

import dataclasses

import pytest

from orbit_lite.errors import PLATFORM, ParseError
from orbit_lite.model import (
    AddressableReference,
    InfoRequest,
    InvocationError,
    InvocationReason,
    InvocationRequest,
    Message,
)


@pytest.mark.parametrize("number", [-(1 << 63), 0, (1 << 63) - 1])
def test_numbers_of_a_message_are_int64(number: int) -> None:
    assert Message(number, InfoRequest(), attempts=number).message_id == number


@pytest.mark.parametrize("number", [-(1 << 63) - 1, 1 << 63])
@pytest.mark.parametrize("name", ["message_id", "attempts"])
def test_numbers_beyond_are_refused_by_name(name: str, number: int) -> None:
    with pytest.raises(ParseError, match=f"^{name} {number}: out of range of int64"):
        dataclasses.replace(Message(1, InfoRequest()), **{name: number})  # type: ignore[arg-type]


def test_a_request_without_more_is_a_call_without_arguments() -> None:
    request = InvocationRequest(AddressableReference.of("Clock"), "now")
    assert (request.arguments, request.reason) == ("[]", InvocationReason.INVOCATION)


def test_an_error_says_who_wrote_it() -> None:
    assert InvocationError("Timeout: x").platform == PLATFORM == "orbit-lite"
