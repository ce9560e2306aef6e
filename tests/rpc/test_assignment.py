"""Which connection takes a call, decided without connections: rules one by one, then any order of events."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orbit_lite.errors import OverloadedError
from orbit_lite.rpc.assignment import Assignment, Postponed, Slot, Waiter
from orbit_lite.rpc.config import PoolConfig


@dataclass(eq=False)
class Line:
    is_connected: bool = True
    stream_limit: int | None = 2


def make(*, most: int = 3, max_waiting: int = 100, **config: float) -> Assignment[Line]:
    return Assignment(PoolConfig(**config), most, max_waiting)  # type: ignore[arg-type]  # soft_stream_limit is an int


def open_one(pool: Assignment[Line], now: float = 0.0, limit: int | None = 2) -> Line:
    pool.dialling()
    pool.opened(line := Line(stream_limit=limit), now, 0.5)
    return line


def take(pool: Assignment[Line], now: float = 0.0, **options: object) -> Slot[Line]:
    slot = pool.ask(now, **options)  # type: ignore[arg-type]
    assert isinstance(slot, Slot)
    return slot


def wait(pool: Assignment[Line], now: float = 0.0) -> Waiter[Line]:
    waiter = pool.ask(now)
    assert isinstance(waiter, Waiter)
    return waiter


# ---------------------------------------------------------------- which connection


def test_the_first_call_waits_for_a_dial_that_others_share() -> None:
    pool = make()
    first = wait(pool)
    assert pool.dial_due(0.0) == 0.0
    pool.dialling()
    second = wait(pool)
    assert pool.dial_due(0.0) is None
    pool.opened(Line(), 1.0, 0.5)
    assert pool.granted == [first, second]
    assert first.slot is second.slot is pool.slots[0]


def test_the_connection_with_the_fewest_calls_is_taken() -> None:
    pool = make()
    open_one(pool)
    open_one(pool)
    assert take(pool) is not take(pool)
    assert [slot.calls for slot in pool.slots] == [1, 1]


def test_the_connection_that_failed_is_avoided_where_there_is_another() -> None:
    pool = make()
    open_one(pool)
    failed = take(pool)
    assert take(pool, avoid=failed) is failed
    pool.ended(failed, 0.0)
    pool.ended(failed, 0.0)
    open_one(pool)
    assert take(pool, avoid=failed) is not failed


def test_a_further_connection_is_due_only_when_all_are_saturated_and_one_more_is_allowed() -> None:
    pool = make(most=2)
    open_one(pool)
    take(pool)
    assert pool.dial_due(0.0) is None
    take(pool)
    assert pool.dial_due(0.0) == 0.0
    open_one(pool)
    take(pool), take(pool)
    assert pool.dial_due(0.0) is None


def test_beyond_the_soft_limit_calls_go_on_up_to_the_peers_limit() -> None:
    pool = make(most=1, soft_stream_limit=1)
    open_one(pool, limit=2)
    take(pool), take(pool)
    assert wait(pool).slot is None


def test_a_peer_that_allows_no_streams_yet_gets_one_call_to_wait_there() -> None:
    pool = make(most=1)
    open_one(pool, limit=0)
    take(pool)
    wait(pool)


def test_who_waits_is_served_in_order_and_nobody_overtakes() -> None:
    pool = make(most=1)
    open_one(pool, limit=1)
    running = take(pool)
    first, second = wait(pool), wait(pool)
    pool.ended(running, 1.0)
    assert pool.granted == [first]
    assert wait(pool, 1.0).slot is None
    assert second.slot is None


def test_too_many_who_wait_are_refused() -> None:
    pool = make(max_waiting=2)
    wait(pool), wait(pool)
    with pytest.raises(OverloadedError, match="2 calls wait for a connection"):
        pool.ask(0.0)


def test_who_leaves_gives_up_its_place_or_passes_its_connection_on() -> None:
    pool = make(most=1)
    gone, granted, last = wait(pool), wait(pool), wait(pool)
    pool.leave(gone, 0.0)
    open_one(pool, limit=1)
    assert pool.granted == [granted]
    pool.leave(granted, 0.0)
    assert pool.granted == [granted, last]
    pool.leave(gone, 0.0)
    assert pool.open_calls == 1


# ---------------------------------------------------------------- losses and dials


def test_a_lost_connection_takes_no_call_and_is_closed_when_its_calls_have_ended() -> None:
    pool = make()
    line = open_one(pool)
    slot = take(pool)
    line.is_connected = False
    wait(pool, 10.0)
    assert pool.closing == []
    assert pool.open_connections == 0
    pool.ended(slot, 10.0)
    assert (pool.closing, pool.slots) == ([line], [])


def test_dials_back_off_by_the_rule_of_grpc() -> None:
    pool = make(redial_initial=1.0, redial_max=3.0)
    delays = []
    for _ in range(5):
        wait(pool)
        delays.append(pool.dial_due(0.0))
        pool.next_dial = 0.0
        pool.dialling()
        assert len(pool.dial_failed(0.0, 0.5)) == 1
    assert delays == pytest.approx([0.0, 1.0, 1.6, 2.56, 3.0])
    pool.next_dial = 0.0
    pool.dialling()
    pool.dial_failed(0.0, 0.0)
    assert pool.next_dial == pytest.approx(0.8 * 3.0)
    pool.dialling()
    pool.dial_failed(0.0, 1.0)
    assert pool.next_dial == pytest.approx(1.2 * 3.0)


def test_a_server_that_is_down_for_ten_minutes_is_dialled_twenty_times_at_most() -> None:
    pool, now, dials = make(redial_initial=1.0, redial_max=120.0), 0.0, 0
    while now < 600.0:
        wait(pool, now)
        delay = pool.dial_due(now)
        assert delay is not None
        now += delay
        dials += 1
        pool.dialling()
        pool.dial_failed(now, 0.5)
    assert dials <= 20


def test_a_server_that_accepts_and_closes_is_not_stormed() -> None:
    pool, now, dials = make(redial_initial=1.0, redial_max=120.0), 0.0, 0
    while now < 600.0:
        wait(pool, now)
        delay = pool.dial_due(now)
        assert delay is not None
        now += delay
        dials += 1
        line = open_one(pool, now)
        for slot in list(pool.slots):
            line.is_connected = False
            for _ in range(slot.calls):
                pool.ended(slot, now)
        pool.granted.clear()
    assert dials <= 20


def test_a_connection_that_lasted_is_replaced_at_once() -> None:
    pool = make(redial_initial=1.0, redial_max=120.0)
    pool.failures = 9
    line = open_one(pool)
    line.is_connected = False
    wait(pool, 200.0)
    assert pool.dial_due(200.0) == 0.0
    assert pool.failures == 0


def test_a_failed_dial_leaves_those_alone_whom_an_open_connection_can_serve() -> None:
    pool = make()
    open_one(pool, limit=1)
    running = take(pool)
    waiter = wait(pool)
    pool.dialling()
    assert pool.dial_failed(0.0, 0.5) == []
    pool.ended(running, 0.0)
    assert pool.granted == [waiter]


def test_a_dial_beyond_the_callers_patience_is_not_waited_for() -> None:
    pool = make(redial_initial=10.0, redial_max=10.0)
    pool.dialling()
    pool.dial_failed(0.0, 0.5)
    assert pool.ask(0.0, patience=9.0) == Postponed(10.0)
    assert isinstance(pool.ask(0.0, patience=10.0), Waiter)
    assert isinstance(pool.ask(2.0, patience=9.0), Waiter)


# ---------------------------------------------------------------- age and idleness


@pytest.mark.parametrize(("draw", "age"), [(0.0, 90.0), (0.5, 100.0), (1.0, 110.0)])
def test_an_old_connection_takes_no_new_calls_and_is_replaced(draw: float, age: float) -> None:
    pool = make(most=1, max_age=100.0)
    pool.dialling()
    pool.opened(line := Line(), 0.0, draw)
    slot = take(pool, age - 0.001)
    wait(pool, age + 0.001)
    assert pool.dial_due(age + 0.001) == 0.0
    assert pool.closing == []
    pool.ended(slot, age + 0.001)
    assert pool.closing == [line]
    assert pool.failures == 0


def test_idle_connections_are_closed_and_busy_ones_kept() -> None:
    pool = make(most=2)
    idle, busy = open_one(pool), open_one(pool)
    slot = next(slot for slot in pool.slots if slot.channel is busy)
    slot.calls = 1
    pool.retire(599.0, 600.0)
    assert pool.closing == []
    pool.retire(600.0, 600.0)
    assert pool.closing == [idle]
    assert [slot.channel for slot in pool.slots] == [busy]


# ---------------------------------------------------------------- any order of events


class AnyOrder(RuleBasedStateMachine):
    """Calls, losses, dials and time in any order; the machine does what becomes due, as the pool would."""

    @initialize(most=st.integers(1, 3), max_waiting=st.integers(1, 5))
    def begin(self, most: int, max_waiting: int) -> None:
        self.pool = make(
            most=most,
            max_waiting=max_waiting,
            soft_stream_limit=2,
            max_age=50.0,
            redial_initial=1.0,
            redial_max=8.0,
        )
        self.now = 0.0
        self.expected: list[Waiter[Line]] = []  # who waits, in order
        self.held: list[Slot[Line]] = []
        self.closed: list[Line] = []

    def act(self) -> None:
        for waiter in self.pool.granted:
            assert waiter is self.expected.pop(0), "served out of order"
            assert waiter.slot is not None
            assert waiter.slot.channel.is_connected, "a call on a dead connection"
            self.held.append(waiter.slot)
        self.pool.granted.clear()
        self.closed += self.pool.closing
        self.pool.closing.clear()
        if self.pool.dial_due(self.now) is not None:
            self.pool.dialling()

    @rule(patience=st.sampled_from([0.0, 5.0, float("inf")]))
    def ask(self, patience: float) -> None:
        full = len(self.expected) == self.pool.max_waiting
        try:
            verdict = self.pool.ask(self.now, patience=patience)
        except OverloadedError:
            assert full
        else:
            if isinstance(verdict, Slot):
                assert not self.expected, "overtook those who wait"
                assert verdict.channel.is_connected
                assert verdict.channel not in self.closed
                self.held.append(verdict)
            elif isinstance(verdict, Waiter):
                self.expected.append(verdict)
        self.act()

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.held:
            slot = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.pool.ended(slot, self.now)
            self.act()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.expected:
            waiter = self.expected.pop(data.draw(st.integers(0, len(self.expected) - 1)))
            self.pool.leave(waiter, self.now)
            self.act()

    @rule(limit=st.sampled_from([None, 0, 1, 3]), draw=st.floats(0, 1))
    def dial_succeeds(self, limit: int | None, draw: float) -> None:
        if self.pool.is_dialling:
            self.now = max(self.now, self.pool.next_dial)
            self.pool.opened(Line(stream_limit=limit), self.now, draw)
            self.act()

    @rule(draw=st.floats(0, 1))
    def dial_fails(self, draw: float) -> None:
        if self.pool.is_dialling:
            self.now = max(self.now, self.pool.next_dial)
            for waiter in self.pool.dial_failed(self.now, draw):
                self.expected.remove(waiter)
            self.act()

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.pool.slots:
            slot = data.draw(st.sampled_from(self.pool.slots))
            slot.channel.is_connected = False

    @rule(seconds=st.sampled_from([0.1, 2.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(max_idle=st.sampled_from([0.0, 10.0]))
    def clean_up(self, max_idle: float) -> None:
        self.pool.retire(self.now, max_idle)
        self.act()

    @invariant()
    def never_more_than_allowed(self) -> None:
        taking = [slot for slot in self.pool.slots if slot.channel.is_connected and not slot.is_retiring]
        taking = [slot for slot in taking if self.now < slot.retires]
        assert len(taking) + self.pool.is_dialling <= self.pool.max_connections

    @invariant()
    def every_call_is_counted_where_it_is(self) -> None:
        assert sum(slot.calls for slot in self.pool.slots) == len(self.held)
        assert all(slot in self.pool.slots for slot in self.held), "a connection was closed under its call"

    @invariant()
    def nobody_who_waits_is_forgotten(self) -> None:
        assert list(self.pool.waiting) == self.expected
        if self.expected:
            assert self.pool.is_dialling or self.held, "nothing is under way that could serve who waits"

    def teardown(self) -> None:
        """Whatever happened, everybody who waits is served when dials succeed and calls end."""
        if not hasattr(self, "pool"):
            return
        for _ in range(200):
            if not self.expected:
                break
            self.now += 10.0
            if self.pool.is_dialling:
                self.pool.opened(Line(), self.now, 0.5)
            elif self.held:
                self.pool.ended(self.held.pop(), self.now)
            self.act()
        assert not self.expected


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
