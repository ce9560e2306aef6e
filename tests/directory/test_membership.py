from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.actors import Placement
from orbit_lite.directory import Membership, Observation
from orbit_lite.directory.membership import FORGOTTEN_AFTER, MAX_MEMBERS
from orbit_lite.errors import AddressableNotFound, ConfigurationError, NodeNotFound, OverloadedError
from orbit_lite.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, NodeStatus

LEASE = 15.0
ME, OTHER, THIRD = NodeId("me"), NodeId("other"), NodeId("third")
ALICE = AddressableReference.of("Account", "alice")

ACTIVE, DRAINING, STOPPED = NodeStatus.ACTIVE, NodeStatus.DRAINING, NodeStatus.STOPPED


def info(
    node_id: NodeId = OTHER, *, types: tuple[str, ...] = ("Account",), status: NodeStatus = ACTIVE, url: str = ""
) -> NodeInfo:
    return NodeInfo(node_id, url or f"http://{node_id.key}:50051", 50051, NodeCapabilities(types), status)


@pytest.fixture
def members() -> Membership:
    members = Membership(ME, lease_duration=LEASE)
    members.set_self(info(ME), incarnation=100)
    return members


# ---------------------------------------------------------------- who hosts what


def test_our_own_node_hosts_what_it_says(members: Membership) -> None:
    assert members.hosts_of("Account") == (ME,)
    assert members.hosts_of("Order") == ()


def test_a_node_that_announces_itself_hosts_what_it_says(members: Membership) -> None:
    assert members.observe(info(types=("Account", "Order", "Order")), incarnation=1, now=0.0) is Observation.JOINED
    assert members.hosts_of("Account") == (ME, OTHER)
    assert members.hosts_of("Order") == (OTHER,)


@pytest.mark.parametrize("status", [DRAINING, STOPPED])
def test_a_node_that_is_not_active_hosts_nothing(members: Membership, status: NodeStatus) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    assert members.observe(info(status=status), incarnation=1, now=1.0) is Observation.RENEWED
    assert members.hosts_of("Account") == (ME,)


def test_our_own_node_hosts_nothing_once_it_drains(members: Membership) -> None:
    members.set_self(info(ME, status=DRAINING), incarnation=100)
    assert members.hosts_of("Account") == ()


def test_types_can_come_and_go_with_an_announcement(members: Membership) -> None:
    members.observe(info(types=("Order",)), incarnation=1, now=0.0)
    members.observe(info(types=("Invoice",)), incarnation=1, now=1.0)
    assert (members.hosts_of("Order"), members.hosts_of("Invoice")) == ((), (OTHER,))


def test_hosts_stay_the_same_object_while_they_stay_the_same(members: Membership) -> None:
    """Callers compare them on every call."""
    members.observe(info(), incarnation=1, now=0.0)
    before = members.hosts_of("Account")
    members.observe(info(), incarnation=1, now=1.0)
    members.observe(info(THIRD, types=("Order",)), incarnation=1, now=2.0)
    assert members.hosts_of("Account") is before


# ---------------------------------------------------------------- leases


def test_a_node_hosts_until_its_lease_ends(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    members.advance(LEASE - 0.001)
    assert members.hosts_of("Account") == (ME, OTHER)
    members.advance(LEASE)
    assert members.hosts_of("Account") == (ME,)


def test_every_announcement_begins_a_new_lease(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    assert members.observe(info(), incarnation=1, now=10.0) is Observation.RENEWED
    members.advance(LEASE + 5.0)
    assert members.hosts_of("Account") == (ME, OTHER)
    members.advance(LEASE + 10.0)
    assert members.hosts_of("Account") == (ME,)


def test_a_node_that_was_silent_for_long_is_back_with_its_next_announcement(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    members.advance(LEASE * 2)
    assert members.observe(info(), incarnation=1, now=LEASE * 2) is Observation.RENEWED
    assert members.hosts_of("Account") == (ME, OTHER)


def test_our_own_lease_never_ends(members: Membership) -> None:
    members.advance(1e12)
    assert members.hosts_of("Account") == (ME,)


def test_time_never_goes_back(members: Membership) -> None:
    members.advance(LEASE)
    members.observe(info(), incarnation=1, now=0.0)
    assert members.hosts_of("Account") == (ME,)


def test_a_failed_call_moves_no_actors(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    members.failed(OTHER, "connection refused", now=1.0)
    assert members.hosts_of("Account") == (ME, OTHER)


def test_a_node_that_stays_away_is_forgotten_in_the_end(members: Membership) -> None:
    members.observe(info(), incarnation=5, now=0.0)
    members.advance(FORGOTTEN_AFTER * LEASE - 0.001)
    assert len(members.views(0.0)) == 2
    members.advance(FORGOTTEN_AFTER * LEASE)
    assert len(members.views(0.0)) == 1


# ---------------------------------------------------------------- incarnations


def test_an_older_incarnation_never_overrides_a_newer_one(members: Membership) -> None:
    members.observe(info(types=("Order",)), incarnation=2, now=0.0)
    assert members.observe(info(), incarnation=1, now=1.0) is Observation.STALE
    assert (members.hosts_of("Order"), members.hosts_of("Account")) == ((OTHER,), (ME,))


def test_it_does_not_prolong_the_lease_of_the_newer_one_either(members: Membership) -> None:
    members.observe(info(), incarnation=2, now=0.0)
    members.observe(info(), incarnation=1, now=10.0)
    members.advance(LEASE)
    assert members.hosts_of("Account") == (ME,)


def test_a_restarted_node_replaces_its_former_self_whatever_that_was(members: Membership) -> None:
    members.observe(info(status=STOPPED), incarnation=1, now=0.0)
    restarted = info(url="http://other:50099")
    assert members.observe(restarted, incarnation=2, now=1.0) is Observation.JOINED
    assert members.hosts_of("Account") == (ME, OTHER)


@pytest.mark.parametrize(("later", "earlier"), [(DRAINING, ACTIVE), (STOPPED, ACTIVE), (STOPPED, DRAINING)])
def test_an_announcement_that_was_overtaken_does_not_turn_a_status_back(
    members: Membership, later: NodeStatus, earlier: NodeStatus
) -> None:
    members.observe(info(status=later), incarnation=1, now=0.0)
    assert members.observe(info(status=earlier), incarnation=1, now=1.0) is Observation.STALE
    assert members.hosts_of("Account") == (ME,)


@given(st.permutations([(1, ACTIVE), (1, DRAINING), (1, STOPPED), (2, ACTIVE), (2, DRAINING)]))
def test_the_order_in_which_announcements_arrive_does_not_matter(
    announcements: list[tuple[int, NodeStatus]],
) -> None:
    members = Membership(ME, lease_duration=LEASE)
    for incarnation, status in announcements:
        members.observe(info(status=status), incarnation=incarnation, now=0.0)
    [view] = members.views(0.0)
    assert (view.incarnation, view.info.status) == (2, DRAINING)


def test_our_own_announcement_is_known_as_such(members: Membership) -> None:
    assert members.observe(info(ME), incarnation=100, now=0.0) is Observation.SELF


def test_another_process_under_our_name_is_noticed_and_changes_nothing(members: Membership) -> None:
    assert members.observe(info(ME, types=("Order",)), incarnation=101, now=0.0) is Observation.TWIN
    assert members.hosts_of("Order") == ()


# ---------------------------------------------------------------- addresses


async def test_nodes_are_found_where_they_said_they_are(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    assert await members.resolve_node(OTHER) == "http://other:50051"
    assert await members.resolve_node(ME) == "http://me:50051"
    members.observe(info(url="http://moved:1"), incarnation=1, now=1.0)
    assert await members.resolve_node(OTHER) == "http://moved:1"


async def test_a_node_nobody_heard_of_is_not_found(members: Membership) -> None:
    with pytest.raises(NodeNotFound, match="third"):
        await members.resolve_node(THIRD)


async def test_a_node_whose_lease_has_ended_is_still_found(members: Membership) -> None:
    """Whether it answers is for the caller to see: leases decide where actors are placed."""
    members.observe(info(), incarnation=1, now=0.0)
    members.advance(LEASE)
    assert await members.resolve_node(OTHER) == "http://other:50051"


async def test_seeds_are_found_before_they_have_announced_anything(members: Membership) -> None:
    members = Membership(ME, lease_duration=LEASE, seeds={THIRD: "http://rust:50051"})
    assert await members.resolve_node(THIRD) == "http://rust:50051"
    members.observe(info(THIRD), incarnation=1, now=0.0)
    assert await members.resolve_node(THIRD) == "http://third:50051"
    members.forget(THIRD)
    members.set_seeds({})
    with pytest.raises(NodeNotFound):
        await members.resolve_node(THIRD)


async def test_an_address_belongs_to_the_node_that_announced_it_last(members: Membership) -> None:
    """A node without a configured id draws a new one at every start."""
    members.observe(info(OTHER, url="http://host:1"), incarnation=1, now=0.0)
    members.observe(info(THIRD, url="http://host:1"), incarnation=2, now=1.0)
    assert members.hosts_of("Account") == (ME, THIRD)
    with pytest.raises(NodeNotFound):
        await members.resolve_node(OTHER)


async def test_an_address_that_was_left_can_be_taken(members: Membership) -> None:
    members.observe(info(OTHER, url="http://host:1"), incarnation=1, now=0.0)
    members.observe(info(OTHER, url="http://host:2"), incarnation=1, now=1.0)
    members.observe(info(THIRD, url="http://host:1"), incarnation=1, now=2.0)
    assert await members.resolve_node(OTHER) == "http://host:2"
    assert await members.resolve_node(THIRD) == "http://host:1"


async def test_an_actor_is_found_where_placement_says() -> None:
    members = Membership(ME, lease_duration=LEASE, placement=Placement({"Account:bob": THIRD}))
    with pytest.raises(AddressableNotFound, match=r"^Account:alice$"):
        await members.resolve_addressable(ALICE)
    members.observe(info(), incarnation=1, now=0.0)
    assert await members.resolve_addressable(ALICE) == OTHER
    assert await members.resolve_addressable(AddressableReference.of("Account", "bob")) == THIRD


# ---------------------------------------------------------------- views and bounds


def test_operators_see_every_node_ourselves_first(members: Membership) -> None:
    members.observe(info(THIRD), incarnation=3, now=0.0)
    members.observe(info(OTHER), incarnation=2, now=1.0)
    me, other, third = members.views(4.0)
    assert (me.info.id, me.is_self, me.reachable, me.last_seen, me.incarnation) == (ME, True, True, 0.0, 100)
    assert (other.info.id, other.is_self, other.reachable, other.last_seen) == (OTHER, False, True, 3.0)
    assert (third.info.id, third.incarnation, third.last_seen) == (THIRD, 3, 4.0)


def test_a_node_is_unreachable_from_a_failure_to_its_next_announcement(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    members.failed(OTHER, "connection\nrefused", now=1.0)
    view = members.views(1.0)[1]
    assert (view.reachable, view.last_error) == (False, r"connection\nrefused")
    members.observe(info(), incarnation=1, now=2.0)
    view = members.views(2.0)[1]
    assert (view.reachable, view.last_error) == (True, "")


def test_a_node_is_unreachable_when_its_lease_has_ended_or_it_has_stopped(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    members.observe(info(THIRD, status=STOPPED), incarnation=1, now=LEASE)
    assert [view.reachable for view in members.views(LEASE)] == [True, False, False]


def test_failures_of_unknown_nodes_are_ignored(members: Membership) -> None:
    members.failed(THIRD, "away", now=0.0)
    assert len(members.views(0.0)) == 1


def test_a_forgotten_node_is_as_if_it_had_never_been(members: Membership) -> None:
    members.observe(info(), incarnation=5, now=0.0)
    members.forget(OTHER)
    members.forget(OTHER)
    assert members.hosts_of("Account") == (ME,)
    assert members.observe(info(), incarnation=1, now=1.0) is Observation.JOINED


def test_the_table_does_not_grow_without_bound(members: Membership) -> None:
    for number in range(MAX_MEMBERS):
        members.observe(info(NodeId(f"node-{number}")), incarnation=1, now=0.0)
    with pytest.raises(OverloadedError, match=f"{MAX_MEMBERS} members are known"):
        members.observe(info(), incarnation=1, now=0.0)
    assert members.observe(info(NodeId("node-0")), incarnation=1, now=0.0) is Observation.RENEWED
    members.advance(FORGOTTEN_AFTER * LEASE)
    assert members.observe(info(), incarnation=1, now=FORGOTTEN_AFTER * LEASE) is Observation.JOINED


def test_a_node_speaks_for_itself_only(members: Membership) -> None:
    with pytest.raises(ConfigurationError, match="cannot speak for"):
        members.set_self(info(OTHER), incarnation=1)


@pytest.mark.parametrize("lease", [0.0, -1.0, float("nan")])
def test_a_lease_has_a_length(lease: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^lease_duration="):
        Membership(ME, lease_duration=lease)


def test_it_is_seen_in_one_line(members: Membership) -> None:
    members.observe(info(), incarnation=1, now=0.0)
    assert repr(members) == "<Membership of (default:me), 1 others, 1 actor types>"
