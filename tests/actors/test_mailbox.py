from __future__ import annotations

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orbit_lite.actors.mailbox import Call, Mailbox, MailboxState
from orbit_lite.errors import Executed, InternalError, OverloadedError
from orbit_lite.model import AddressableReference

CAPACITY = 3


def reference(key: str = "alice") -> AddressableReference:
    return AddressableReference.of("Account", key)


def call(key: str = "alice", *, parent: Call | None = None, owner: object = None) -> Call:
    return Call(owner, reference(key), "method", parent)


def active() -> Mailbox[Call]:
    mailbox: Mailbox[Call] = Mailbox(CAPACITY)
    mailbox.begin()
    assert mailbox.activated() is None
    return mailbox


# ---------------------------------------------------------------- turns


def test_calls_wait_for_the_activation_and_then_run_in_their_order() -> None:
    mailbox: Mailbox[Call] = Mailbox(CAPACITY)
    first, second = call(), call()
    assert not mailbox.admit(first)
    mailbox.begin()
    assert not mailbox.admit(second)
    assert mailbox.activated() is first
    assert mailbox.finish() is second
    assert mailbox.finish() is None
    assert mailbox.is_idle


def test_an_idle_actor_runs_a_call_at_once() -> None:
    mailbox = active()
    assert mailbox.admit(call())
    assert mailbox.state is MailboxState.BUSY
    assert not mailbox.admit(call())


def test_a_full_mailbox_refuses_and_has_not_changed() -> None:
    mailbox = active()
    mailbox.admit(call())
    waiting = [call() for _ in range(CAPACITY)]
    for one in waiting:
        mailbox.admit(one)
    with pytest.raises(OverloadedError, match=f"mailbox of Account:alice is full: {CAPACITY} calls wait") as raised:
        mailbox.admit(call())
    assert raised.value.executed is Executed.NO
    assert [mailbox.finish() for _ in range(CAPACITY)] == waiting


def test_before_the_first_turn_there_is_room_for_the_call_that_will_run_too() -> None:
    mailbox: Mailbox[Call] = Mailbox(CAPACITY)
    for _ in range(CAPACITY + 1):
        mailbox.admit(call())
    with pytest.raises(OverloadedError):
        mailbox.admit(call())


def test_a_call_that_is_withdrawn_leaves_room_and_gets_no_turn() -> None:
    mailbox = active()
    mailbox.admit(call())
    gone, stays = call(), call()
    mailbox.admit(gone)
    mailbox.admit(stays)
    assert mailbox.withdraw(gone)
    assert not mailbox.withdraw(gone)
    assert mailbox.depth == 1
    assert mailbox.finish() is stays


def test_calls_that_come_during_deactivation_wait_for_the_next_life() -> None:
    mailbox = active()
    assert mailbox.retire()
    late = call()
    assert not mailbox.admit(late)
    assert mailbox.retired()
    assert mailbox.state is MailboxState.NEW
    mailbox.begin()
    assert mailbox.activated() is late


def test_a_deactivation_that_nobody_disturbs_is_the_end() -> None:
    mailbox = active()
    mailbox.retire()
    assert not mailbox.retired()
    assert mailbox.state is MailboxState.CLOSED


def test_a_busy_actor_does_not_retire() -> None:
    mailbox = active()
    mailbox.admit(call())
    assert not mailbox.retire()


def test_a_failed_activation_hands_all_calls_back_in_their_order() -> None:
    mailbox: Mailbox[Call] = Mailbox(CAPACITY)
    calls = [call(), call()]
    for one in calls:
        mailbox.admit(one)
    mailbox.begin()
    assert mailbox.close() == calls
    assert mailbox.state is MailboxState.CLOSED


def test_its_state_is_seen_in_one_line() -> None:
    mailbox = active()
    mailbox.admit(call())
    mailbox.admit(call())
    assert repr(mailbox) == "<Mailbox busy, 1 waiting>"


class Machine(RuleBasedStateMachine):
    """Any order of inputs: those that a state allows do what a plain list would, all others are InternalErrors."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox: Mailbox[Call] = Mailbox(CAPACITY)
        self.waiting: list[Call] = []
        self.current: Call | None = None
        self.state = MailboxState.NEW

    def next_turn(self, given: Call | None) -> None:
        assert given is (self.waiting[0] if self.waiting else None)
        self.current = self.waiting.pop(0) if self.waiting else None
        self.state = MailboxState.BUSY if self.current else MailboxState.IDLE

    @rule()
    @precondition(lambda self: self.state is not MailboxState.CLOSED)
    def admit(self) -> None:
        new = call()
        if self.state is MailboxState.IDLE:
            assert self.mailbox.admit(new)
            self.current, self.state = new, MailboxState.BUSY
        elif len(self.waiting) < CAPACITY + (self.current is None):
            assert not self.mailbox.admit(new)
            self.waiting.append(new)
        else:
            with pytest.raises(OverloadedError):
                self.mailbox.admit(new)

    @rule()
    @precondition(lambda self: self.waiting)
    def withdraw(self) -> None:
        assert self.mailbox.withdraw(self.waiting.pop())

    @rule()
    @precondition(lambda self: self.state is MailboxState.NEW)
    def begin(self) -> None:
        self.mailbox.begin()
        self.state = MailboxState.ACTIVATING

    @rule()
    @precondition(lambda self: self.state is MailboxState.ACTIVATING)
    def activated(self) -> None:
        self.next_turn(self.mailbox.activated())

    @rule()
    @precondition(lambda self: self.state is MailboxState.BUSY)
    def finish(self) -> None:
        self.next_turn(self.mailbox.finish())

    @rule()
    def retire(self) -> None:
        assert self.mailbox.retire() == (self.state is MailboxState.IDLE)
        if self.state is MailboxState.IDLE:
            self.state = MailboxState.RETIRING

    @rule()
    @precondition(lambda self: self.state is MailboxState.RETIRING)
    def retired(self) -> None:
        assert self.mailbox.retired() == bool(self.waiting)
        self.state = MailboxState.NEW if self.waiting else MailboxState.CLOSED

    @rule()
    def everything_else_is_illegal(self) -> None:
        allowed = {
            "begin": MailboxState.NEW,
            "activated": MailboxState.ACTIVATING,
            "close": MailboxState.ACTIVATING,
            "finish": MailboxState.BUSY,
            "retired": MailboxState.RETIRING,
        }
        for name, state in allowed.items():
            if state is not self.state:
                with pytest.raises(InternalError, match=f"{name} while {self.state.value}"):
                    getattr(self.mailbox, name)()

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.mailbox.state is self.state
        assert self.mailbox.depth == len(self.waiting)
        assert self.mailbox.current is self.current or self.state is not MailboxState.BUSY


TestMachine = Machine.TestCase


def test_a_closed_mailbox_takes_no_call() -> None:
    mailbox = active()
    mailbox.retire()
    mailbox.retired()
    with pytest.raises(InternalError, match="admit while closed"):
        mailbox.admit(call())


# ---------------------------------------------------------------- circles


def test_a_call_from_outside_is_in_no_circle() -> None:
    assert call().circle() is None


def test_an_actor_that_calls_itself_would_wait_for_itself() -> None:
    outer = call("alice")
    inner = call("alice", parent=outer)
    assert inner.circle() == [outer, inner]


def test_a_circle_is_found_through_other_actors_and_told_from_its_beginning() -> None:
    outside, first, second = call("x"), call("alice"), call("bob")
    first.parent, second.parent = outside, first
    last = call("alice", parent=second)
    assert [str(step) for step in last.circle() or ()] == [
        "Account:alice.method",
        "Account:bob.method",
        "Account:alice.method",
    ]


def test_calls_of_different_actors_are_no_circle() -> None:
    assert call("carol", parent=call("bob", parent=call("alice"))).circle() is None


def test_the_same_name_in_another_system_is_another_actor() -> None:
    assert call("alice", owner="there", parent=call("alice", owner="here")).circle() is None


def test_a_method_that_has_returned_holds_nobody_up() -> None:
    outer = call("alice")
    inner = call("alice", parent=outer)
    outer.is_over = True
    assert inner.circle() is None


def test_calls_do_not_remember_callers_that_are_over() -> None:
    """Else a background task that calls, whose callee leaves a background task that calls … would remember them all."""
    outer = call("alice")
    middle = call("bob", parent=outer)
    outer.is_over = middle.is_over = True
    assert call("carol", parent=middle).parent is None


def test_a_call_shows_hostile_names_on_one_line() -> None:
    shown = str(Call(None, reference("a\nb"), "m\x1b[0m"))
    assert shown == r"Account:a\nb.m\x1b[0m"
