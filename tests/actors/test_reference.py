from __future__ import annotations

from collections.abc import Sequence

from orbit_lite.actors import ActorContext, ActorRef
from orbit_lite.model import AddressableReference, Int64Key, Json, NodeId, NoKey


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[AddressableReference, str, Sequence[Json], float | None]] = []

    async def invoke(
        self, reference: AddressableReference, method: str, args: Sequence[Json], *, timeout: float | None = None
    ) -> Json:
        self.calls.append((reference, method, args, timeout))
        return "result"


ALICE = AddressableReference.of("Account", "alice")


async def test_a_reference_hands_its_calls_to_its_caller() -> None:
    caller = Recorder()
    assert await ActorRef(caller, ALICE).invoke("debit", 5, "note", timeout=1.5) == "result"
    assert caller.calls == [(ALICE, "debit", (5, "note"), 1.5)]


def test_references_are_equal_when_they_lead_to_the_same_actor_the_same_way() -> None:
    here, there = Recorder(), Recorder()
    assert ActorRef(here, ALICE) == ActorRef(here, ALICE)
    assert len({ActorRef(here, ALICE), ActorRef(here, ALICE)}) == 1
    assert ActorRef(here, ALICE) != ActorRef(there, ALICE)
    assert ActorRef(here, ALICE) != ActorRef(here, AddressableReference.of("Account", "bob"))
    assert ActorRef(here, ALICE) != ALICE


def test_a_reference_shows_its_actor_on_one_line() -> None:
    assert repr(ActorRef(Recorder(), AddressableReference.of("Account", "a\nb"))) == r"<ActorRef Account:a\nb>"


async def test_a_context_knows_its_actor_and_reaches_others() -> None:
    caller = Recorder()
    retired: list[bool] = []
    context = ActorContext(ALICE, NodeId("node-1"), caller, lambda: retired.append(True))
    assert context.key.value == "alice"
    assert context.node_id == NodeId("node-1")
    assert context.actor("Counter", 7).reference == AddressableReference("Counter", Int64Key(7))
    assert context.actor("Clock").reference.key == NoKey()
    context.deactivate()
    assert retired == [True]
    assert repr(context) == "<ActorContext Account:alice on (default:node-1)>"
