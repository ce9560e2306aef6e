"""The state machine of the replicated directory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.directory import DirectoryMachine, NodeChange, PlacementChange, Resync
from orbit_lite.directory.commands import (
    LONGEST_TICK_MS,
    ActorPlacement,
    Command,
    Place,
    Refusal,
    Refused,
    Register,
    Registered,
    Release,
    Released,
    Reply,
    Tick,
    Ticked,
    decode_reply,
    encode_command,
)
from orbit_lite.directory.machine import Change
from orbit_lite.errors import ParseError
from orbit_lite.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, NodeStatus

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
ALICE, BOB = AddressableReference.of("Account", "alice"), AddressableReference.of("Account", "bob")
LEASE_MS = 10_000
ACTIVE, DRAINING, STOPPED = NodeStatus.ACTIVE, NodeStatus.DRAINING, NodeStatus.STOPPED


def info(
    node_id: NodeId = A, *types: str, status: NodeStatus = ACTIVE, limit: int | None = None, url: str = ""
) -> NodeInfo:
    url = url or f"http://{node_id.key}:50051"
    return NodeInfo(node_id, url, 50051, NodeCapabilities(types or ("Account",), limit), status)


class Replica:
    """A machine that is told commands as the log would tell them."""

    def __init__(self, machine: DirectoryMachine | None = None) -> None:
        self.machine = machine or DirectoryMachine()
        self.index = 0
        self.changes: list[Change] = []
        self.machine.listen(self.changes.append)

    def tell(self, command: Command) -> Reply:
        self.index += 1
        return decode_reply(self.machine.apply(self.index, encode_command(command)))

    def register(self, what: NodeInfo | None = None, incarnation: int = 1, revision: int = 1) -> Reply:
        return self.tell(Register(what or info(), incarnation, revision, LEASE_MS))

    def pass_time(self, milliseconds: int, term: int = 1) -> None:
        self.tell(Tick(term, 0))
        for _ in range(milliseconds // LONGEST_TICK_MS):
            self.tell(Tick(term, LONGEST_TICK_MS))
        self.tell(Tick(term, milliseconds % LONGEST_TICK_MS))

    def home(self, reference: AddressableReference = ALICE) -> NodeId | None:
        placement = self.machine.actors.get(reference)
        return placement.node_id if placement is not None else None


@pytest.fixture
def replica() -> Replica:
    return Replica()


# ---------------------------------------------------------------- time


def test_the_first_tick_of_a_term_only_begins_to_measure(replica: Replica) -> None:
    assert replica.tell(Tick(3, 1_000)) == Ticked(0)
    assert replica.tell(Tick(3, 1_000)) == Ticked(1_000)
    assert replica.tell(Tick(4, 1_000)) == Ticked(1_000)
    assert replica.tell(Tick(4, 500)) == Ticked(1_500)


def test_a_tick_of_a_deposed_leader_does_not_count(replica: Replica) -> None:
    replica.tell(Tick(4, 0))
    reply = replica.tell(Tick(3, 1_000))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.STALE
    assert replica.machine.now_ms == 0


def test_a_leader_that_stood_still_takes_nobodys_lease(replica: Replica) -> None:
    replica.register()
    replica.tell(Tick(1, 0))
    replica.tell(Tick(1, 3_600_000))
    assert replica.machine.now_ms == LONGEST_TICK_MS
    assert A in replica.machine.nodes


# ---------------------------------------------------------------- nodes


def test_a_registered_node_hosts_its_types_until_its_lease_is_over(replica: Replica) -> None:
    assert replica.register(info(A, "Account", "Order")) == Registered(LEASE_MS + LONGEST_TICK_MS)
    assert replica.machine.hosts_of("Order") == (A,)
    replica.pass_time(LEASE_MS + LONGEST_TICK_MS - 1)
    assert replica.machine.hosts_of("Order") == (A,)
    replica.tell(Tick(1, 1))
    assert replica.machine.hosts_of("Order") == ()
    assert replica.changes[-1] == NodeChange(replica.index, A, None)


def test_a_renewal_makes_the_lease_longer_and_is_no_change(replica: Replica) -> None:
    replica.register()
    replica.pass_time(9_000)
    told = len(replica.changes)
    assert replica.register() == Registered(9_000 + LEASE_MS + LONGEST_TICK_MS)
    assert len(replica.changes) == told


def test_a_holder_may_trust_its_lease_from_the_moment_when_it_asked(replica: Replica) -> None:
    """The tick that comes right behind a registration may measure time that passed before it."""
    replica.tell(Tick(1, 0))
    replica.register()
    replica.tell(Tick(1, LONGEST_TICK_MS))
    replica.pass_time(LEASE_MS - 1)
    assert A in replica.machine.nodes


def test_a_later_incarnation_takes_the_place_of_an_earlier_one_and_its_actors_are_gone(replica: Replica) -> None:
    replica.register(incarnation=1)
    replica.tell(Place(ALICE, A))
    replica.register(incarnation=2)
    assert replica.home() is None
    reply = replica.register(incarnation=1, revision=9)
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.SUPERSEDED
    assert replica.machine.nodes[A].incarnation == 2


def test_what_a_node_said_before_does_not_count_when_it_comes_late(replica: Replica) -> None:
    replica.register(info(url="http://new:1"), revision=2)
    reply = replica.register(info(url="http://old:1"), revision=1)
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.STALE
    assert replica.machine.nodes[A].info.url == "http://new:1"


@pytest.mark.parametrize(("before", "after"), [(DRAINING, ACTIVE), (STOPPED, ACTIVE), (STOPPED, DRAINING)])
def test_a_node_never_goes_back_to_what_it_was(replica: Replica, before: NodeStatus, after: NodeStatus) -> None:
    replica.register(info(status=before), revision=1)
    assert isinstance(replica.register(info(status=after), revision=2), Refused)
    assert replica.machine.nodes[A].info.status is before
    assert replica.register(info(status=after), incarnation=2) == Registered(LEASE_MS + LONGEST_TICK_MS)


def test_no_more_nodes_are_taken_than_the_limit_says() -> None:
    replica = Replica(DirectoryMachine(max_nodes=1))
    replica.register(info(A))
    reply = replica.register(info(B))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.FULL
    assert isinstance(replica.register(info(A)), Registered)


def test_hosts_that_did_not_change_are_the_same_object(replica: Replica) -> None:
    replica.register(info(A))
    before = replica.machine.hosts_of("Account")
    replica.register(info(B, "Order"))
    assert replica.machine.hosts_of("Account") is before


# ---------------------------------------------------------------- actors


def test_an_actor_lives_where_it_was_placed_first(replica: Replica) -> None:
    replica.register(info(A))
    replica.register(info(B))
    assert replica.tell(Place(ALICE, B)) == ActorPlacement(B, 3)
    assert replica.tell(Place(ALICE, A)) == ActorPlacement(B, 3)
    assert replica.changes[-1] == PlacementChange(3, ALICE, ActorPlacement(B, 3))


def test_epochs_grow_from_placement_to_placement(replica: Replica) -> None:
    replica.register()
    first = replica.tell(Place(ALICE, A))
    assert isinstance(first, ActorPlacement)
    assert replica.tell(Release(ALICE, A, first.epoch)) == Released(was_held=True)
    second = replica.tell(Place(ALICE, A))
    assert isinstance(second, ActorPlacement)
    assert second.epoch > first.epoch


def test_a_release_of_an_earlier_epoch_or_by_another_node_does_nothing(replica: Replica) -> None:
    replica.register(info(A))
    replica.register(info(B))
    replica.tell(Place(ALICE, A))
    assert replica.tell(Release(ALICE, A, 2)) == Released(was_held=False)
    assert replica.tell(Release(ALICE, B, 3)) == Released(was_held=False)
    assert replica.home() == A


@pytest.mark.parametrize(
    "host",
    [
        None,
        info(A, "Order"),
        info(A, status=DRAINING),
        info(A, status=STOPPED),
        info(A, limit=0),
    ],
)
def test_no_actor_is_given_to_a_node_that_cannot_take_it(replica: Replica, host: NodeInfo | None) -> None:
    if host is not None:
        replica.register(host)
    reply = replica.tell(Place(ALICE, A))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.INELIGIBLE
    assert replica.home() is None


def test_a_release_makes_room_on_a_full_node(replica: Replica) -> None:
    replica.register(info(limit=1))
    replica.tell(Place(ALICE, A))
    assert isinstance(replica.tell(Place(BOB, A)), Refused)
    replica.tell(Release(ALICE, A, 2))
    assert isinstance(replica.tell(Place(BOB, A)), ActorPlacement)


def test_no_more_actors_are_placed_than_the_limit_says() -> None:
    replica = Replica(DirectoryMachine(max_actors=1))
    replica.register()
    replica.tell(Place(ALICE, A))
    reply = replica.tell(Place(BOB, A))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.FULL


def test_a_draining_node_keeps_its_actors(replica: Replica) -> None:
    replica.register()
    replica.tell(Place(ALICE, A))
    replica.register(info(status=DRAINING), revision=2)
    assert replica.home() == A


def test_a_stopped_node_has_no_actors_and_keeps_its_address_for_a_lease(replica: Replica) -> None:
    replica.register()
    replica.tell(Place(ALICE, A))
    replica.register(info(status=STOPPED), revision=2)
    assert replica.home() is None
    assert replica.machine.nodes[A].info.url == "http://a:50051"
    replica.pass_time(LEASE_MS + LONGEST_TICK_MS)
    assert A not in replica.machine.nodes


def test_an_actor_may_live_elsewhere_once_its_nodes_lease_is_over(replica: Replica) -> None:
    replica.register(info(A))
    replica.tell(Place(ALICE, A))
    replica.pass_time(LEASE_MS)
    replica.register(info(B))
    assert replica.tell(Place(ALICE, B)) == ActorPlacement(A, 2)
    replica.tell(Tick(1, LONGEST_TICK_MS))
    reply = replica.tell(Place(ALICE, B))
    assert isinstance(reply, ActorPlacement)
    assert reply.node_id == B


def test_actors_of_a_type_that_the_node_gave_up_live_nowhere(replica: Replica) -> None:
    order = AddressableReference.of("Order", 7)
    replica.register(info(A, "Account", "Order"))
    replica.tell(Place(ALICE, A))
    replica.tell(Place(order, A))
    replica.register(info(A, "Order"), revision=2)
    assert replica.home(ALICE) is None
    assert replica.home(order) == A


# ---------------------------------------------------------------- what is no command, and what is told


@given(st.binary(max_size=40))
def test_what_cannot_be_read_is_refused_and_changes_nothing(data: bytes) -> None:
    replica = Replica()
    reply = decode_reply(replica.machine.apply(7, data))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.MALFORMED
    assert replica.machine.index == 7
    assert not replica.changes


def test_nobody_is_told_after_having_said_so(replica: Replica) -> None:
    told: list[Change] = []
    forget = replica.machine.listen(told.append)
    forget()
    replica.register()
    assert not told


# ---------------------------------------------------------------- snapshots, and replicas that agree

NODE_IDS = st.sampled_from([A, B, C])
REFERENCES = st.builds(AddressableReference.of, st.sampled_from(["Account", "Order"]), st.integers(0, 3))
INFOS = st.builds(
    lambda node_id, types, status, limit: info(node_id, *types, status=status, limit=limit),
    NODE_IDS,
    st.lists(st.sampled_from(["Account", "Order"]), max_size=2),
    st.sampled_from(NodeStatus),
    st.none() | st.integers(0, 2),
)
HISTORIES = st.lists(
    st.one_of(
        st.builds(Tick, st.integers(1, 3), st.integers(0, 3_000)),
        st.builds(Register, INFOS, st.integers(1, 3), st.integers(1, 3), st.just(1_000)),
        st.builds(Place, REFERENCES, NODE_IDS),
        st.builds(Release, REFERENCES, NODE_IDS, st.integers(1, 30)),
    ),
    max_size=40,
)


def check(machine: DirectoryMachine) -> None:
    """What holds at all times."""
    for reference, placement in machine.actors.items():
        record = machine.nodes[placement.node_id]
        assert record.info.status is not STOPPED
        assert reference.addressable_type in record.info.capabilities.addressable_types
        assert placement.epoch <= machine.index
    assert all(record.expires_ms > machine.now_ms for record in machine.nodes.values())
    for name in ("Account", "Order"):
        able = {node_id for node_id, record in machine.nodes.items() if record.info.status is ACTIVE}
        hosts = {node for node in able if name in machine.nodes[node].info.capabilities.addressable_types}
        assert set(machine.hosts_of(name)) == hosts


@given(HISTORIES, st.integers(0, 40))
def test_a_replica_from_a_snapshot_answers_like_one_that_saw_everything(history: list[Command], cut: int) -> None:
    whole, late = Replica(), Replica()
    for command in history[:cut]:
        whole.tell(command)
        check(whole.machine)
    late.machine.restore(whole.machine.snapshot())
    late.index = whole.index
    for command in history[cut:]:
        assert whole.tell(command) == late.tell(command)
        check(late.machine)
    assert whole.machine.snapshot() == late.machine.snapshot()


@given(HISTORIES)
def test_whoever_follows_the_changes_knows_the_directory(history: list[Command]) -> None:
    replica = Replica()
    nodes: dict[NodeId, Register] = {}
    homes: dict[AddressableReference, ActorPlacement] = {}
    for command in history:
        replica.tell(command)
        for change in replica.changes:
            match change:
                case NodeChange(_, node_id, record):
                    before = nodes.pop(node_id, None)
                    if record is not None:
                        nodes[node_id] = record.register
                    types = () if record is None else record.info.capabilities.addressable_types
                    is_same = before is not None and record is not None and before.incarnation == record.incarnation
                    if record is None or record.info.status is STOPPED or not is_same:
                        types = ()
                    for reference in [reference for reference, home in homes.items() if home.node_id == node_id]:
                        if reference.addressable_type not in types:
                            del homes[reference]
                case PlacementChange(_, reference, placement):
                    homes.pop(reference, None)
                    if placement is not None:
                        homes[reference] = placement
        replica.changes.clear()
        assert homes == replica.machine.actors
        assert nodes == {node_id: record.register for node_id, record in replica.machine.nodes.items()}


def test_a_restored_replica_tells_its_followers_to_look_anew(replica: Replica) -> None:
    replica.register()
    other = Replica()
    other.machine.restore(replica.machine.snapshot())
    assert other.changes == [Resync(1)]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"format":2}', b"null", b"[" * 100_000],
)
def test_what_is_no_snapshot_is_refused_and_changes_nothing(replica: Replica, data: bytes) -> None:
    replica.register()
    before = replica.machine.snapshot()
    with pytest.raises(ParseError):
        replica.machine.restore(data)
    assert replica.machine.snapshot() == before


def test_an_actor_on_a_node_that_is_not_there_is_no_snapshot(replica: Replica) -> None:
    replica.register()
    replica.tell(Place(ALICE, A))
    damaged = replica.machine.snapshot().replace(b'"node":"(default:a)"', b'"node":"(default:x)"')
    with pytest.raises(ParseError, match="which is not there"):
        replica.machine.restore(damaged)


def test_the_repr_counts(replica: Replica) -> None:
    replica.register()
    assert repr(replica.machine) == "<DirectoryMachine 1 nodes, 0 actors at 1>"
    assert replica.machine.nodes[A].info == replace(info(), lease=None)
