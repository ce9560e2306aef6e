"""Nodes: who they are, what they offer, and the leases that bound how long they are believed."""

from __future__ import annotations

from datetime import datetime

from orbit_lite.converters.keys import AddressableReferenceConverter
from orbit_lite.converters.presence import (
    Fields,
    build,
    domain,
    enum_number,
    fields,
    inside,
    optional,
    optional_text,
    optional_uint32,
    pairs,
    required,
    text,
    texts,
    timestamp,
    uint32,
)
from orbit_lite.converters.timestamps import TimestampConverter
from orbit_lite.errors import ConversionError, quote
from orbit_lite.model import AddressableLease, NodeCapabilities, NodeId, NodeInfo, NodeLease, NodeStatus
from orbit_proto.orbit.shared import (
    AddressableLeaseProto,
    NodeCapabilitiesProto,
    NodeIdProto,
    NodeInfoProto,
    NodeLeaseProto,
    NodeStatusProto,
)

__all__ = [
    "AddressableLeaseConverter",
    "NodeCapabilitiesConverter",
    "NodeIdConverter",
    "NodeInfoConverter",
    "NodeLeaseConverter",
    "NodeStatusConverter",
]


class NodeIdConverter:
    """NodeId ⇄ NodeIdProto, and ⇄ the text form of Raft and transaction messages."""

    @staticmethod
    def to_proto(value: NodeId) -> NodeIdProto:
        return build(NodeIdProto, key=value.key, namespace=value.namespace)

    @staticmethod
    def from_proto(proto: NodeIdProto) -> NodeId:
        """Takes off the parentheses that an Orbit-RS node leaves in the parts of every id it was told."""
        state = fields(proto)
        key, namespace = text(state, "key"), text(state, "namespace")
        at_fault = "namespace" if key.rstrip(")") else "key"
        return domain(at_fault, NodeId.normalized, key, namespace)

    @staticmethod
    def to_text(value: NodeId) -> str:
        """Orbit-RS's Display form, `(namespace:key)`."""
        return str(value)

    @staticmethod
    def from_text(value: str, field: str = "node_id") -> NodeId:
        """Read any form that peers send, see `NodeId.parse`; errors name `field`."""
        if not value:
            raise ConversionError(field, "missing")
        return domain(field, NodeId.parse, value)


_STATUSES = {status.value: status for status in NodeStatus}


class NodeStatusConverter:
    """NodeStatus ⇄ NodeStatusProto. An unknown number is an error: it might mean anything but ACTIVE."""

    @staticmethod
    def to_proto(value: NodeStatus) -> NodeStatusProto:
        return NodeStatusProto(value.value)

    @staticmethod
    def from_proto(proto: NodeStatusProto | int) -> NodeStatus:
        return enum_number({"": proto}, "", _STATUSES)


class NodeCapabilitiesConverter:
    """NodeCapabilities ⇄ NodeCapabilitiesProto."""

    @staticmethod
    def to_proto(value: NodeCapabilities) -> NodeCapabilitiesProto:
        return build(
            NodeCapabilitiesProto,
            addressable_types=list(value.addressable_types),
            max_addressables=value.max_addressables,
            tags=dict(value.tags),
        )

    @staticmethod
    def from_proto(proto: NodeCapabilitiesProto) -> NodeCapabilities:
        state = fields(proto)
        return NodeCapabilities(
            texts(state, "addressable_types"), optional_uint32(state, "max_addressables"), pairs(state, "tags")
        )


def _moment(state: Fields, name: str) -> datetime:
    return inside(name, TimestampConverter.from_proto, timestamp(state, name))


class NodeLeaseConverter:
    """NodeLease ⇄ NodeLeaseProto. Both moments have to be there."""

    @staticmethod
    def to_proto(value: NodeLease) -> NodeLeaseProto:
        return build(
            NodeLeaseProto,
            node_id=NodeIdConverter.to_proto(value.node_id),
            expires_at=inside("expires_at", TimestampConverter.to_proto, value.expires_at),
            renew_at=inside("renew_at", TimestampConverter.to_proto, value.renew_at),
            challenge_token=value.challenge_token,
        )

    @staticmethod
    def from_proto(proto: NodeLeaseProto) -> NodeLease:
        state = fields(proto)
        return NodeLease(
            required(state, "node_id", NodeIdConverter.from_proto),
            _moment(state, "expires_at"),
            _moment(state, "renew_at"),
            optional_text(state, "challenge_token"),
        )


class AddressableLeaseConverter:
    """AddressableLease ⇄ AddressableLeaseProto. Both moments have to be there."""

    @staticmethod
    def to_proto(value: AddressableLease) -> AddressableLeaseProto:
        return build(
            AddressableLeaseProto,
            reference=AddressableReferenceConverter.to_proto(value.reference),
            node_id=NodeIdConverter.to_proto(value.node_id),
            expires_at=inside("expires_at", TimestampConverter.to_proto, value.expires_at),
            renew_at=inside("renew_at", TimestampConverter.to_proto, value.renew_at),
        )

    @staticmethod
    def from_proto(proto: AddressableLeaseProto) -> AddressableLease:
        state = fields(proto)
        return AddressableLease(
            required(state, "reference", AddressableReferenceConverter.from_proto),
            required(state, "node_id", NodeIdConverter.from_proto),
            _moment(state, "expires_at"),
            _moment(state, "renew_at"),
        )


class NodeInfoConverter:
    """NodeInfo ⇄ NodeInfoProto. Id and capabilities have to be there; a lease of another node is an error."""

    @staticmethod
    def to_proto(value: NodeInfo) -> NodeInfoProto:
        _check_lease(value.id, value.lease)
        return build(
            NodeInfoProto,
            id=NodeIdConverter.to_proto(value.id),
            url=value.url,
            port=value.port,
            capabilities=NodeCapabilitiesConverter.to_proto(value.capabilities),
            status=NodeStatusConverter.to_proto(value.status),
            lease=None if value.lease is None else inside("lease", NodeLeaseConverter.to_proto, value.lease),
        )

    @staticmethod
    def from_proto(proto: NodeInfoProto) -> NodeInfo:
        state = fields(proto)
        node_id = required(state, "id", NodeIdConverter.from_proto)
        capabilities = required(state, "capabilities", NodeCapabilitiesConverter.from_proto)
        status = enum_number(state, "status", _STATUSES)
        lease = optional(state, "lease", NodeLeaseConverter.from_proto)
        _check_lease(node_id, lease)
        url, port = text(state, "url"), uint32(state, "port")
        return domain("port", NodeInfo, node_id, url, port, capabilities, status, lease)


def _check_lease(node_id: NodeId, lease: NodeLease | None) -> None:
    if lease is not None and lease.node_id != node_id:
        problem = f"contradictory: {quote(str(lease.node_id))} in the information on {quote(str(node_id))}"
        raise ConversionError("lease.node_id", problem)
