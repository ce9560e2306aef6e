"""Hypothesis strategies for every domain value, and for messages of any betterproto class.

    from orbit_lite.testing import strategies as orbit

    @given(orbit.messages())
    def test_my_handler(message): ...

Each function returns a strategy of values that are valid, that is: that their converter can send and read back. Text is
any Unicode that UTF-8 can say, numbers reach the ends of their ranges. Arguments narrow what is drawn.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import betterproto

from orbit_lite.converters.json_text import dump_json
from orbit_lite.converters.presence import build
from orbit_lite.model import (
    Abort,
    Acknowledge,
    AddressableLease,
    AddressableReference,
    AppendEntriesRequest,
    AppendEntriesResponse,
    Commit,
    Content,
    CoordinatorAssignment,
    ElectLeader,
    ErrorContent,
    HeartBeat,
    InfoRequest,
    InfoResponse,
    Int32Key,
    Int64Key,
    InvocationError,
    InvocationReason,
    InvocationRequest,
    InvocationResponse,
    Json,
    Key,
    KeyKind,
    LiteCommand,
    LiteKind,
    LogEntry,
    Message,
    NamespacedAddressableReference,
    NodeCapabilities,
    NodeId,
    NodeInfo,
    NodeJoin,
    NodeLease,
    NodeLeave,
    NodeStatus,
    NoKey,
    Prepare,
    QueryStatus,
    RaftCommand,
    RoutedUnicast,
    StateType,
    StatusResponse,
    StringKey,
    Target,
    TransactionId,
    TransactionMessage,
    TransactionOperation,
    TransactionState,
    TransactionVote,
    Unicast,
    Vote,
    VoteRequest,
    VoteResponse,
    VoteType,
)
from orbit_lite.raft import (
    Configuration,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Member,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotMeta,
    TimeoutNowRequest,
    TimeoutNowResponse,
)

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
    from hypothesis.vendor import pretty
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ModuleNotFoundError(
        'orbit_lite.testing.strategies needs Hypothesis: pip install "orbit-lite[testing]"', name="hypothesis"
    ) from error

__all__ = [
    "addressable_leases",
    "addressable_references",
    "append_entries_requests",
    "append_entries_responses",
    "configurations",
    "contents",
    "install_snapshot_requests",
    "install_snapshot_responses",
    "invocation_requests",
    "json_texts",
    "json_values",
    "keys",
    "log_entries",
    "members",
    "messages",
    "namespaced_addressable_references",
    "node_capabilities",
    "node_ids",
    "node_infos",
    "node_leases",
    "node_statuses",
    "pre_vote_requests",
    "pre_vote_responses",
    "protos",
    "raft_commands",
    "read_index_requests",
    "read_index_responses",
    "snapshot_metas",
    "targets",
    "timeout_now_requests",
    "timeout_now_responses",
    "timestamps",
    "transaction_ids",
    "transaction_messages",
    "transaction_operations",
    "transaction_states",
    "transaction_votes",
    "vote_requests",
    "vote_responses",
]

_M = TypeVar("_M", bound=betterproto.Message)

_int32 = st.integers(-(1 << 31), (1 << 31) - 1)
_int64 = st.integers(-(1 << 63), (1 << 63) - 1)
_uint32 = st.integers(0, (1 << 32) - 1)
_uint64 = st.integers(0, (1 << 64) - 1)
_words = st.text(min_size=1, max_size=20)
_phrases = st.text(max_size=40)


# Who is who


def node_ids() -> SearchStrategy[NodeId]:
    """Everyday ids and those that try the text form: colons and parentheses, empty namespaces, any script."""
    everyday = st.builds(NodeId, st.from_regex(r"node-[0-9]{1,3}", fullmatch=True))
    alphabet = st.sampled_from("():") | st.characters(codec="utf-8")
    odd_key = st.text(alphabet, min_size=1, max_size=20).filter(lambda key: not key.endswith(")"))
    odd_namespace = st.just("") | st.text(alphabet, max_size=10).filter(
        lambda name: ":" not in name and not name.startswith("(")
    )
    return everyday | st.builds(NodeId, odd_key, odd_namespace)


def keys(*, kinds: Collection[KeyKind] = tuple(KeyKind)) -> SearchStrategy[Key]:
    """Keys of the given kinds."""
    of_kind: dict[KeyKind, SearchStrategy[Key]] = {
        KeyKind.STRING: st.builds(StringKey, st.text(max_size=20)),
        KeyKind.INT32: st.builds(Int32Key, _int32),
        KeyKind.INT64: st.builds(Int64Key, _int64),
        KeyKind.NONE: st.just(NoKey()),
    }
    return st.one_of([of_kind[kind] for kind in kinds])


def addressable_references(*, kinds: Collection[KeyKind] = tuple(KeyKind)) -> SearchStrategy[AddressableReference]:
    """References to actors with keys of the given kinds."""
    return st.builds(AddressableReference, _words, keys(kinds=kinds))


def namespaced_addressable_references() -> SearchStrategy[NamespacedAddressableReference]:
    """References within a namespace, which may be empty."""
    return st.builds(NamespacedAddressableReference, st.text(max_size=10), addressable_references())


def timestamps() -> SearchStrategy[datetime]:
    """Aware UTC datetimes, years 1 to 9999, to the microsecond."""
    return st.datetimes(timezones=st.just(UTC))


# Nodes


def node_statuses() -> SearchStrategy[NodeStatus]:
    """Every status."""
    return st.sampled_from(NodeStatus)


def node_capabilities() -> SearchStrategy[NodeCapabilities]:
    """Types, limit and tags, each also left out."""
    return st.builds(
        NodeCapabilities,
        st.lists(_words, max_size=4).map(tuple),
        st.none() | _uint32,
        st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
    )


def node_leases(*, node_id: SearchStrategy[NodeId] | None = None) -> SearchStrategy[NodeLease]:
    """Leases of any node or of the given one, with any two moments."""
    owner = node_ids() if node_id is None else node_id
    return st.builds(NodeLease, owner, timestamps(), timestamps(), st.none() | _phrases)


def addressable_leases() -> SearchStrategy[AddressableLease]:
    """Leases with any two moments."""
    return st.builds(AddressableLease, addressable_references(), node_ids(), timestamps(), timestamps())


def node_infos() -> SearchStrategy[NodeInfo]:
    """Nodes with and without a lease; a lease is the node's own."""
    return node_ids().flatmap(_node_infos_of)


def _node_infos_of(node_id: NodeId) -> SearchStrategy[NodeInfo]:
    own = st.just(node_id)
    url = st.builds("http://node-{}:{}".format, st.integers(1, 99), st.integers(1, 65535))
    lease = st.none() | node_leases(node_id=own)
    return st.builds(NodeInfo, own, url, st.integers(0, 65535), node_capabilities(), node_statuses(), lease)


# Messages of an actor stream


def json_values(*, max_leaves: int = 8) -> SearchStrategy[Json]:
    """JSON values whose numbers every implementation can hold: 64-bit integers and finite doubles."""
    scalars: SearchStrategy[Json] = (
        st.none() | st.booleans() | _int64 | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
        max_leaves=max_leaves,
    )


def json_texts() -> SearchStrategy[str]:
    """JSON values as compact text."""
    return json_values().map(lambda value: dump_json("", value))


def invocation_requests() -> SearchStrategy[InvocationRequest]:
    """Requests whose arguments are a JSON array, of raw values or of values wrapped as Orbit-RS wraps them."""
    raw = st.lists(json_values(max_leaves=4), max_size=3)
    arguments = (raw | raw.map(_wrapped)).map(lambda values: dump_json("", values))
    return st.builds(
        InvocationRequest, addressable_references(), st.text(max_size=20), arguments, st.sampled_from(InvocationReason)
    )


def _wrapped(arguments: list[Json]) -> list[Json]:
    return [{"value": value, "type_name": "dynamic"} for value in arguments]


def contents() -> SearchStrategy[Content]:
    """Each of the six contents."""
    return st.one_of(
        invocation_requests(),
        st.builds(InvocationResponse, json_texts()),
        st.builds(InvocationError, _phrases, _phrases),
        st.builds(ErrorContent, _phrases),
        st.just(InfoRequest()),
        st.builds(InfoResponse, node_ids()),
    )


def targets() -> SearchStrategy[Target]:
    """Both kinds of target; one node may be left out, a path has at least one."""
    path = st.lists(node_ids(), min_size=1, max_size=4).map(tuple)
    return st.builds(Unicast, st.none() | node_ids()) | st.builds(RoutedUnicast, path)


def messages(*, content: SearchStrategy[Content] | None = None) -> SearchStrategy[Message]:
    """Messages with any or the given content, with and without source and target."""
    content = contents() if content is None else content
    return st.builds(Message, _int64, content, st.none() | node_ids(), st.none() | targets(), _int64)


# Transactions


def transaction_ids() -> SearchStrategy[TransactionId]:
    """UUIDs and other text, created in whole milliseconds."""
    created = timestamps().map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))
    return st.builds(TransactionId, st.uuids(version=4).map(str) | _words, node_ids(), created)


def transaction_operations(
    *, actor: SearchStrategy[AddressableReference] | None = None
) -> SearchStrategy[TransactionOperation]:
    """Operations on any or the given actors."""
    actor = addressable_references() if actor is None else actor
    return st.builds(TransactionOperation, _phrases, actor, _phrases, json_values(), json_values())


def transaction_votes() -> SearchStrategy[TransactionVote]:
    """Every vote; only a YES has never a reason."""
    reasoned = st.sampled_from([VoteType.NO, VoteType.UNCERTAIN])
    return st.just(TransactionVote(VoteType.YES)) | st.builds(TransactionVote, reasoned, st.none() | _phrases)


def transaction_states() -> SearchStrategy[TransactionState]:
    """Every state, with and without details."""
    return st.builds(TransactionState, st.sampled_from(StateType), st.none() | _phrases)


def transaction_messages(
    *, actor: SearchStrategy[AddressableReference] | None = None
) -> SearchStrategy[TransactionMessage]:
    """The seven messages, about any or the given actors.

    The wire loses the kind of a key. To compare what went through it, draw actors with keys of one kind:
    `actor=addressable_references(kinds=[KeyKind.STRING])`.
    """
    actor = addressable_references() if actor is None else actor
    ids = transaction_ids()
    operations = st.lists(transaction_operations(actor=actor), max_size=3).map(tuple)
    milliseconds = st.integers(0, 1 << 52)
    return st.one_of(
        st.builds(Prepare, ids, operations, milliseconds.map(lambda number: number / 1000)),
        st.builds(Vote, ids, actor, transaction_votes()),
        st.builds(Commit, ids),
        st.builds(Abort, ids, _phrases),
        st.builds(Acknowledge, ids, actor, st.just(True)),
        st.builds(Acknowledge, ids, actor, st.just(False), st.none() | _phrases),
        st.builds(QueryStatus, ids),
        st.builds(StatusResponse, ids, transaction_states()),
    )


# Raft


def raft_commands() -> SearchStrategy[RaftCommand]:
    """Orbit-RS's five commands and our own."""
    return st.one_of(
        st.just(HeartBeat()),
        st.builds(ElectLeader, node_ids()),
        st.builds(CoordinatorAssignment, _phrases, node_ids()),
        st.builds(NodeJoin, node_ids()),
        st.builds(NodeLeave, node_ids()),
        st.builds(LiteCommand, st.sampled_from(LiteKind), _phrases, _uint64, st.binary(max_size=40)),
    )


def log_entries() -> SearchStrategy[LogEntry]:
    """Entries at any place of the log."""
    return st.builds(LogEntry, _uint64, _uint64, raft_commands(), _int64)


def vote_requests() -> SearchStrategy[VoteRequest]:
    """Requests for any term."""
    return st.builds(VoteRequest, _uint64, node_ids(), _uint64, _uint64)


def vote_responses() -> SearchStrategy[VoteResponse]:
    """Granted and refused."""
    return st.builds(VoteResponse, _uint64, st.booleans(), node_ids())


def append_entries_requests() -> SearchStrategy[AppendEntriesRequest]:
    """Heartbeats and requests with entries, which need not follow each other."""
    entries = st.lists(log_entries(), max_size=3).map(tuple)
    return st.builds(AppendEntriesRequest, _uint64, node_ids(), _uint64, _uint64, entries, _uint64)


def append_entries_responses() -> SearchStrategy[AppendEntriesResponse]:
    """Accepted and refused."""
    return st.builds(AppendEntriesResponse, _uint64, st.booleans(), node_ids(), _uint64)


def members() -> SearchStrategy[Member]:
    """Voters and learners, with and without an address."""
    return st.builds(Member, node_ids(), _phrases, st.booleans())


def configurations() -> SearchStrategy[Configuration]:
    """Clusters of up to four nodes, with no voter, too: what a node knows before it joins."""
    nodes = st.lists(members(), max_size=4, unique_by=lambda member: member.node_id).map(tuple)
    return st.builds(Configuration, _phrases, nodes)


def snapshot_metas() -> SearchStrategy[SnapshotMeta]:
    """Descriptions of snapshots of any size."""
    checksum = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
    return st.builds(SnapshotMeta, _uint64, _uint64, configurations(), _uint64, checksum)


def pre_vote_requests() -> SearchStrategy[PreVoteRequest]:
    """Questions for any term."""
    return st.builds(PreVoteRequest, _uint64, node_ids(), _uint64, _uint64)


def pre_vote_responses() -> SearchStrategy[PreVoteResponse]:
    """Yes and no."""
    return st.builds(PreVoteResponse, _uint64, st.booleans(), node_ids())


def install_snapshot_requests() -> SearchStrategy[InstallSnapshotRequest]:
    """Chunks at any offset, empty ones too."""
    return st.builds(InstallSnapshotRequest, _uint64, node_ids(), snapshot_metas(), _uint64, st.binary(max_size=40))


def install_snapshot_responses() -> SearchStrategy[InstallSnapshotResponse]:
    """Any progress."""
    return st.builds(InstallSnapshotResponse, _uint64, node_ids(), _uint64)


def timeout_now_requests() -> SearchStrategy[TimeoutNowRequest]:
    """Of any leader."""
    return st.builds(TimeoutNowRequest, _uint64, node_ids())


def timeout_now_responses() -> SearchStrategy[TimeoutNowResponse]:
    """Of any follower."""
    return st.builds(TimeoutNowResponse, _uint64, node_ids())


def read_index_requests() -> SearchStrategy[ReadIndexRequest]:
    """Of any follower."""
    return st.builds(ReadIndexRequest, _uint64, node_ids())


def read_index_responses() -> SearchStrategy[ReadIndexResponse]:
    """With an index, 0 included, and without; with and without a leader."""
    return st.builds(ReadIndexResponse, _uint64, st.none() | _uint64, st.none() | node_ids())


# Messages of any class

_SCALARS: Mapping[str, SearchStrategy[object]] = {
    betterproto.TYPE_BOOL: st.booleans(),
    betterproto.TYPE_INT32: _int32,
    betterproto.TYPE_INT64: _int64,
    betterproto.TYPE_SINT32: _int32,
    betterproto.TYPE_SINT64: _int64,
    betterproto.TYPE_SFIXED32: _int32,
    betterproto.TYPE_SFIXED64: _int64,
    betterproto.TYPE_UINT32: _uint32,
    betterproto.TYPE_UINT64: _uint64,
    betterproto.TYPE_FIXED32: _uint32,
    betterproto.TYPE_FIXED64: _uint64,
    betterproto.TYPE_FLOAT: st.floats(width=32),
    betterproto.TYPE_DOUBLE: st.floats(),
    betterproto.TYPE_STRING: st.text(max_size=20),
    betterproto.TYPE_BYTES: st.binary(max_size=20),
}

_TEN_THOUSAND_YEARS = timedelta(seconds=315_576_000_000)  # the range of google.protobuf.Duration


@functools.cache
def protos(cls: type[_M]) -> SearchStrategy[_M]:
    """Messages of a betterproto class, one's own too: well-formed, but with any field unset and any enum number.

    For code that must cope with whatever a peer may send. Timestamps stay within the years of a datetime.
    """
    pretty.for_type_by_name(cls.__module__, cls.__name__, _show)
    layout = cls._betterproto  # type: ignore[arg-type]  # a classproperty belongs to the class
    plain: dict[str, SearchStrategy[object]] = {}
    groups: dict[str, list[SearchStrategy[dict[str, object]]]] = {}
    for name, field in layout.meta_by_field_name.items():
        values = _field_values(layout, name, field)
        if field.group:
            groups.setdefault(field.group, []).append(st.fixed_dictionaries({name: values}))
        else:
            plain[name] = values
    parts: list[SearchStrategy[dict[str, object]]] = [st.fixed_dictionaries({}, optional=plain)]
    parts += [st.one_of(st.just({}), *members) for members in groups.values()]
    return st.tuples(*parts).map(lambda drawn: build(cls, **dict(itertools.chain(*(part.items() for part in drawn)))))


def _show(message: object, printer: Any, cycle: bool) -> None:
    # Hypothesis would read every attribute of a dataclass, which fails on an unset oneof and sets all other fields.
    printer.text(repr(message))


def _field_values(
    layout: betterproto.ProtoClassMetadata, name: str, field: betterproto.FieldMetadata
) -> SearchStrategy[object]:
    if field.map_types:
        key_type, value_type = field.map_types
        values = _values(value_type, layout.cls_by_field[f"{name}.value"])
        return st.dictionaries(_SCALARS[key_type], values, max_size=3)
    values = _values(field.wraps or field.proto_type, layout.cls_by_field[name])
    return st.lists(values, max_size=3) if layout.default_gen[name] is list else values


def _values(proto_type: str, cls: Any) -> SearchStrategy[object]:
    if proto_type == betterproto.TYPE_ENUM:
        return (st.sampled_from(list(cls)) | _int32).map(cls.try_value)
    if proto_type != betterproto.TYPE_MESSAGE:
        return _SCALARS[proto_type]
    if cls is datetime:
        return timestamps()
    if cls is timedelta:
        return st.timedeltas(-_TEN_THOUSAND_YEARS, _TEN_THOUSAND_YEARS)
    return st.deferred(lambda: protos(cls))  # deferred, because a class may hold itself
