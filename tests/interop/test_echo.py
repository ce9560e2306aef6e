"""Every pair of implementations of which ours is one carries the same calls with the same outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.conftest import Connected

pytestmark = pytest.mark.interop

FAILURE = "nicht jetzt ☺\n100 %"
METADATA: list[tuple[str, str | bytes]] = [
    ("x-text", "eins"),
    ("x-text", "zwei"),
    ("x-key-bin", b"\0\xff\r\n"),
    ("x-key-bin", b""),
]


@pytest.mark.parametrize(
    ("method", "texts", "replies"),
    [
        ("Unary", ["größer"], ["größer"]),
        ("Expand", ["a"], ["a", "a", "a"]),
        ("Collect", ["a", "b", "c"], ["a,b,c"]),
        ("Chat", ["a", "b", "c"], ["a", "b", "c"]),
        ("Unary", [""], [""]),
    ],
)
async def test_all_four_kinds_of_calls(connected: Connected, method: str, texts: list[str], replies: list[str]) -> None:
    outcome = await connected.client.call(method, texts)
    assert (outcome.status, outcome.replies) == (0, replies)


@pytest.mark.parametrize("method", ["Unary", "Expand", "Collect", "Chat"])
async def test_a_failure_keeps_status_text_and_details(connected: Connected, method: str) -> None:
    pytest.importorskip("google.rpc.status_pb2", reason="googleapis-common-protos is not installed")
    outcome = await connected.client.call(method, ["fail"])
    assert (outcome.status, outcome.message, outcome.replies) == (9, FAILURE, [])
    assert outcome.details == ["BUSY"]


async def test_metadata_of_both_kinds_goes_there_and_back(connected: Connected) -> None:
    outcome = await connected.client.call("Unary", ["mirror"], metadata=METADATA)
    assert outcome.status == 0
    assert separated(outcome.initial) == separated(METADATA)
    assert separated(outcome.trailing) == separated(METADATA)


def separated(pairs: list[tuple[str, str | bytes]]) -> list[tuple[str, str | bytes]]:
    """Sorted, with the values that an implementation joined by a comma, as all may, apart again."""
    apart: list[tuple[str, str | bytes]] = []
    for name, value in pairs:
        apart += [(name, part) for part in value.split(", ")] if isinstance(value, str) else [(name, value)]
    return sorted(apart, key=repr)


async def test_a_deadline_ends_the_call_at_both_ends(connected: Connected) -> None:
    outcome = await connected.client.call("Unary", ["hang"], timeout=0.3)
    assert outcome.status == 4
    await connected.watch.cancelled.wait()


async def test_a_cancelled_call_ends_at_the_server(connected: Connected) -> None:
    cancel = await connected.client.chat(["first", "hang"])
    await connected.watch.hanging.wait()
    assert not connected.watch.cancelled.is_set()
    await cancel()
    await connected.watch.cancelled.wait()
    outcome = await connected.client.call("Unary", ["still here"])
    assert outcome.replies == ["still here"]


@pytest.mark.parametrize("method", ["Unary", "Chat"])
async def test_large_messages_pass_both_ways(connected: Connected, method: str) -> None:
    text = "ü" * (1 << 19)  # one MiB
    outcome = await connected.client.call(method, [text])
    assert outcome.status == 0
    assert outcome.replies == [text]


async def test_an_unknown_method_is_unimplemented(connected: Connected) -> None:
    outcome = await connected.client.call("Nothing", ["a"])
    assert outcome.status == 12


async def test_many_calls_at_once_are_kept_apart(connected: Connected) -> None:
    outcomes = await asyncio.gather(*(connected.client.call("Unary", [f"{number}"]) for number in range(120)))
    assert [outcome.replies for outcome in outcomes] == [[f"{number}"] for number in range(120)]


async def test_a_long_stream_is_complete_and_in_order(connected: Connected) -> None:
    texts = [f"{number}" for number in range(500)]
    outcome = await connected.client.call("Chat", texts)
    assert outcome.replies == texts


async def test_messages_over_our_limit_are_refused_in_both_directions(connected: Connected) -> None:
    reply = await connected.client.call("Unary", [f"size {17 << 20}"])
    assert (reply.status, reply.replies) == (8, [])
    assert "limit of 16777216 bytes" in reply.message
    if connected.client_kind != "orbit":  # ours refuses to send it
        request = await connected.client.call("Unary", ["x" * (17 << 20)])
        assert request.status == 8
    assert (await connected.client.call("Unary", ["still here"])).replies == ["still here"]
