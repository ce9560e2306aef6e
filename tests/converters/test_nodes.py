"""Nodes and leases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from orbit_lite.codec import decode, encode
from orbit_lite.converters import (
    AddressableLeaseConverter,
    NodeCapabilitiesConverter,
    NodeIdConverter,
    NodeInfoConverter,
    NodeLeaseConverter,
    NodeStatusConverter,
)
from orbit_lite.converters.presence import build
from orbit_lite.errors import ConversionError
from orbit_lite.model import AddressableLease, AddressableReference, NodeId, NodeInfo, NodeLease, NodeStatus
from orbit_proto.orbit.shared import (
    AddressableLeaseProto,
    AddressableReferenceProto,
    KeyProto,
    NodeCapabilitiesProto,
    NodeIdProto,
    NodeInfoProto,
    NodeLeaseProto,
    NodeStatusProto,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NODE = NodeIdProto("node-1", "default")
ACTOR = AddressableReferenceProto("A", KeyProto(int32_key=1))
LEASE = NodeLeaseProto(NODE, EPOCH, EPOCH)
INFO: dict[str, object] = {
    "id": NODE,
    "url": "http://node-1:50051",
    "port": 50051,
    "capabilities": build(NodeCapabilitiesProto),
}


# Node ids


@pytest.mark.parametrize(
    "parts", [("node-1", "default"), ("node-1)", "(default"), ("node-1))", "((default")], ids=["plain", "once", "twice"]
)
def test_parentheses_that_orbit_rs_left_in_the_parts_come_off(parts: tuple[str, str]) -> None:
    assert NodeIdConverter.from_proto(NodeIdProto(*parts)) == NodeId("node-1", "default")


@pytest.mark.parametrize(
    "text", ["(default:node-1)", "default:node-1", "node-1", "((default:node-1))", "(default:node-1"]
)
def test_every_text_form_that_peers_send_is_read(text: str) -> None:
    assert NodeIdConverter.from_text(text) == NodeId("node-1", "default")


def test_the_text_form_is_orbit_rs_display() -> None:
    assert NodeIdConverter.to_text(NodeId("node-1", "prod")) == "(prod:node-1)"


@pytest.mark.parametrize("text", ["", "()", "(default:)", "default:"])
def test_text_without_a_key_is_no_node_id(text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        NodeIdConverter.from_text(text, "voter_id")
    assert caught.value.field == "voter_id"


# Statuses


@pytest.mark.parametrize("status", NodeStatus)
def test_every_status_comes_back(status: NodeStatus) -> None:
    assert NodeStatusConverter.from_proto(NodeStatusConverter.to_proto(status)) is status


def test_a_status_has_the_same_name_on_the_wire() -> None:
    assert [NodeStatusConverter.to_proto(status).name for status in NodeStatus] == [
        status.name for status in NodeStatus
    ]


def test_an_unknown_status_is_not_active() -> None:
    with pytest.raises(ConversionError, match="unknown enum number 3"):
        NodeStatusConverter.from_proto(NodeStatusProto.try_value(3))


# Missing and contradictory


@pytest.mark.parametrize(
    ("converter", "message", "field"),
    [
        (NodeIdConverter, NodeIdProto(), "key"),
        (NodeIdConverter, NodeIdProto(")", "default"), "key"),
        (NodeIdConverter, NodeIdProto("a", "b:c"), "namespace"),
        (NodeCapabilitiesConverter, NodeCapabilitiesProto(max_addressables=1 << 32), "max_addressables"),
        (NodeCapabilitiesConverter, build(NodeCapabilitiesProto, addressable_types=["A", 1]), "addressable_types[1]"),
        (NodeLeaseConverter, NodeLeaseProto(expires_at=EPOCH, renew_at=EPOCH), "node_id"),
        (NodeLeaseConverter, NodeLeaseProto(NodeIdProto(namespace="a"), EPOCH, EPOCH), "node_id.key"),
        (NodeLeaseConverter, NodeLeaseProto(NODE, renew_at=EPOCH), "expires_at"),
        (NodeLeaseConverter, NodeLeaseProto(NODE, expires_at=EPOCH), "renew_at"),
        (NodeLeaseConverter, NodeLeaseProto(NODE, EPOCH.replace(tzinfo=None), EPOCH), "expires_at"),
        (AddressableLeaseConverter, AddressableLeaseProto(node_id=NODE, expires_at=EPOCH, renew_at=EPOCH), "reference"),
        (AddressableLeaseConverter, AddressableLeaseProto(ACTOR, expires_at=EPOCH, renew_at=EPOCH), "node_id"),
        (AddressableLeaseConverter, AddressableLeaseProto(ACTOR, NODE, renew_at=EPOCH), "expires_at"),
        (AddressableLeaseConverter, AddressableLeaseProto(ACTOR, NODE, expires_at=EPOCH), "renew_at"),
        (NodeInfoConverter, build(NodeInfoProto, **INFO | {"id": None}), "id"),
        (NodeInfoConverter, build(NodeInfoProto, **INFO | {"capabilities": None}), "capabilities"),
        (NodeInfoConverter, build(NodeInfoProto, **INFO, status=NodeStatusProto.try_value(9)), "status"),
        (NodeInfoConverter, build(NodeInfoProto, **INFO | {"port": 65536}), "port"),
        (NodeInfoConverter, build(NodeInfoProto, **INFO, lease=NodeLeaseProto(NODE, EPOCH)), "lease.renew_at"),
        (
            NodeInfoConverter,
            build(NodeInfoProto, **INFO, lease=NodeLeaseProto(NodeIdProto("node-2"), EPOCH, EPOCH)),
            "lease.node_id",
        ),
    ],
)
def test_what_is_missing_or_contradictory_is_named(converter: Any, message: object, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter.from_proto(message)
    assert caught.value.field == field


def test_looking_for_a_lease_does_not_make_one() -> None:
    info = build(NodeInfoProto, **INFO)
    assert info.lease is None
    assert NodeInfoConverter.from_proto(info).lease is None


def test_a_lease_at_the_epoch_is_sent() -> None:
    lease = AddressableLease(AddressableReference.of("A"), NodeId("a"), EPOCH, EPOCH)
    data = encode(AddressableLeaseConverter.to_proto(lease))  # betterproto's own runtime leaves both moments out
    assert data.endswith(b"\x1a\x00\x22\x00")
    assert AddressableLeaseConverter.from_proto(decode(AddressableLeaseProto, data)) == lease


def test_a_lease_in_another_zone_is_the_same_moment() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    lease = NodeLease(NodeId("a"), noon, noon)
    assert NodeLeaseConverter.from_proto(NodeLeaseConverter.to_proto(lease)) == lease


def test_leases_that_cannot_be_sent_name_the_field() -> None:
    beyond = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
    lease = NodeLease(NodeId("a"), EPOCH, beyond)
    with pytest.raises(ConversionError) as caught:
        NodeInfoConverter.to_proto(NodeInfo(NodeId("a"), "http://a", 1, lease=lease))
    assert caught.value.field == "lease.renew_at"


def test_a_lease_of_another_node_is_not_sent() -> None:
    info = NodeInfo(NodeId("a"), "http://a", 1, lease=NodeLease(NodeId("b"), EPOCH, EPOCH))
    with pytest.raises(ConversionError) as caught:
        NodeInfoConverter.to_proto(info)
    assert caught.value.field == "lease.node_id"
