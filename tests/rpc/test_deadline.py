"""Deadlines and how they pass from call to call."""

from __future__ import annotations

import asyncio

import pytest
from grpclib.metadata import Deadline as GrpclibDeadline

from orbit_lite.rpc.deadline import Deadline, current_deadline, deadline_scope


def test_remaining_time_shrinks_to_zero_and_stays_there() -> None:
    deadline = Deadline.after(5.0, now=100.0)
    assert deadline.remaining(now=100.0) == 5.0
    assert deadline.remaining(now=104.0) == 1.0
    assert deadline.remaining(now=200.0) == 0.0
    assert not deadline.is_over(now=104.0)
    assert deadline.is_over(now=105.0)


def test_the_earlier_of_several_counts_and_none_is_never() -> None:
    early, late = Deadline(1.0), Deadline(2.0)
    assert Deadline.min(late, None, early) == early
    assert Deadline.min(None, None) is None
    assert Deadline.min() is None


def test_a_deadline_of_grpclib_is_taken() -> None:
    deadline = Deadline.of(GrpclibDeadline.from_timeout(60.0))
    assert 59.0 < deadline.remaining() <= 60.0
    assert Deadline.of(deadline) is deadline
    assert 0.0 <= deadline.time_remaining() <= 60.0


def test_what_is_no_deadline_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a Deadline"):
        Deadline.of(3.0)


def test_scopes_nest_and_the_inner_one_never_outlives_the_outer() -> None:
    outer, later, earlier = Deadline(10.0), Deadline(20.0), Deadline(5.0)
    assert current_deadline() is None
    with deadline_scope(outer):
        with deadline_scope(later) as effective:
            assert effective == current_deadline() == outer
        with deadline_scope(earlier):
            assert current_deadline() == earlier
        with deadline_scope(None):
            assert current_deadline() == outer
    assert current_deadline() is None


async def test_tasks_started_in_a_scope_inherit_it() -> None:
    async def look() -> Deadline | None:
        return current_deadline()

    with deadline_scope(Deadline(7.0)):
        task = asyncio.create_task(look())
    assert await task == Deadline(7.0)
    assert current_deadline() is None
