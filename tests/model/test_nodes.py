from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orbit_lite.errors import ParseError
from orbit_lite.model import AddressableLease, AddressableReference, NodeCapabilities, NodeId, NodeInfo, NodeLease

NODE = NodeId("node-1")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)
ACTOR = AddressableReference.of("Account", "alice")


def test_a_lease_ends_at_its_moment_and_not_after_it() -> None:
    for lease in (NodeLease(NODE, NOON, NOON), AddressableLease(ACTOR, NODE, NOON, NOON)):
        assert not lease.is_expired(NOON - timedelta(microseconds=1))
        assert lease.is_expired(NOON)


@pytest.mark.parametrize(("expires_at", "renew_at", "name"), [(NAIVE, NOON, "expires_at"), (NOON, NAIVE, "renew_at")])
def test_leases_need_times_with_a_zone(expires_at: datetime, renew_at: datetime, name: str) -> None:
    with pytest.raises(ParseError, match=f"{name} must be an aware datetime"):
        NodeLease(NODE, expires_at, renew_at)
    with pytest.raises(ParseError, match=f"{name} must be an aware datetime"):
        AddressableLease(ACTOR, NODE, expires_at, renew_at)


@pytest.mark.parametrize("limit", [None, 0, (1 << 32) - 1])
def test_the_number_of_actors_is_a_uint32_or_not_said(limit: int | None) -> None:
    assert NodeCapabilities(max_addressables=limit).max_addressables == limit


@pytest.mark.parametrize("limit", [-1, 1 << 32])
def test_a_number_of_actors_beyond_a_uint32_is_refused(limit: int) -> None:
    with pytest.raises(ParseError, match="max_addressables"):
        NodeCapabilities(max_addressables=limit)


@pytest.mark.parametrize("port", [0, 65535])
def test_a_node_has_a_port(port: int) -> None:
    assert NodeInfo(NODE, "http://h", port).port == port


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ParseError, match=r"0\.\.65535"):
        NodeInfo(NODE, "http://h", port)
