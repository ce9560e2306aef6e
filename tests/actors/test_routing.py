from __future__ import annotations

import itertools

import pytest

from orbit_lite.actors.routing import MAX_FORWARDS, Forward, route
from orbit_lite.errors import AddressableNotFound
from orbit_lite.model import AddressableReference, NodeId

ME, OTHER = NodeId("me"), NodeId("other")
ACTOR = AddressableReference.of("Account", "alice")


def go(home: NodeId | None, *, is_hosted: bool = True, attempts: int = 0) -> Forward | None:
    return route(ACTOR, home, self_id=ME, is_hosted=is_hosted, attempts=attempts)


def test_a_call_whose_home_is_here_runs_here_however_often_it_was_passed_on() -> None:
    for attempts in (0, MAX_FORWARDS, 99):
        assert go(ME, attempts=attempts) is None


def test_a_call_whose_home_is_elsewhere_goes_there_and_counts() -> None:
    assert go(OTHER) == Forward(OTHER, 1)
    assert go(OTHER, is_hosted=False, attempts=2) == Forward(OTHER, 3)


@pytest.mark.parametrize("attempts", [MAX_FORWARDS, MAX_FORWARDS + 1, 2**63 - 1])
def test_a_call_that_was_passed_on_too_often_is_refused(attempts: int) -> None:
    with pytest.raises(AddressableNotFound) as raised:
        go(OTHER, attempts=attempts)
    assert raised.value.description == "Addressable not found: Account:alice"


def test_a_count_below_zero_buys_no_further_forwards() -> None:
    assert go(OTHER, attempts=-(2**63)) == Forward(OTHER, 1)


def test_a_type_that_nobody_hosts_is_refused() -> None:
    with pytest.raises(AddressableNotFound, match=r"^Account:alice$"):
        go(None, is_hosted=False)


def test_a_home_that_does_not_know_the_type_refuses_instead_of_passing_on() -> None:
    with pytest.raises(AddressableNotFound):
        go(ME, is_hosted=False)


@pytest.mark.parametrize(
    ("home", "is_hosted", "attempts"), list(itertools.product([ME, OTHER, None], [True, False], range(-1, 5)))
)
def test_every_combination_runs_passes_on_upwards_or_is_refused(
    home: NodeId | None, is_hosted: bool, attempts: int
) -> None:
    try:
        forward = go(home, is_hosted=is_hosted, attempts=attempts)
    except AddressableNotFound:
        return
    if forward is not None:
        assert forward.node_id != ME
        assert attempts < forward.attempts <= MAX_FORWARDS
