"""What a simulated cluster replicates: the state machine under test behind client sessions, and one to begin with."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from orbit_lite.raft import StateMachine
from orbit_lite.testing.simulation.linearizability import ILLEGAL

__all__ = ["KeyValueMachine", "KeyValueOperation", "KeyValueWorkload", "Workload"]

OperationT = TypeVar("OperationT")


class Workload(Protocol[OperationT]):
    """What clients do to a state machine, and what they believe of it (a `Model` of it, besides).

    Operations are the user's own values; `str` of them appears in reports.
    """

    def draw(self, client: str, number: int, random: Random, /) -> OperationT:
        """The client's next operation. number: counts the client's operations, so values can be made unique."""
        ...

    def command(self, operation: OperationT, /) -> bytes | None:
        """What is proposed; None for an operation that only reads, and so is answered by `query`."""
        ...

    def query(self, machine: StateMachine, operation: OperationT, /) -> bytes:
        """Read the machine; called when the read is known to be linearizable."""
        ...

    def partition(self, operation: OperationT, /) -> Hashable: ...

    def initial(self) -> Hashable: ...

    def step(self, state: Hashable, operation: OperationT, result: bytes | None, /) -> Hashable: ...


# ---------------------------------------------------------------- a small key-value store


@dataclass(frozen=True, slots=True)
class KeyValueOperation:
    """kind: get, put, append (value is what is appended), swap (to value, if the value is `expected`)."""

    kind: str
    key: str
    value: str = ""
    expected: str = ""

    def __str__(self) -> str:
        shown = {
            "get": "",
            "put": f" = {self.value}",
            "append": f" += {self.value}",
            "swap": f": {self.expected} → {self.value}",
        }
        return f"{self.kind} {self.key}{shown[self.kind]}"


class KeyValueMachine:
    """Keys and values of text. A command is `kind key value expected`, with spaces; a put returns the old value."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def apply(self, index: int, data: bytes) -> bytes:
        kind, key, value, expected = data.decode().split(" ")
        old = self.values.get(key, "")
        new, result = transition(old, kind, value, expected)
        self.values[key] = new
        return result

    def snapshot(self) -> bytes:
        return json.dumps(self.values, sort_keys=True).encode()

    def restore(self, data: bytes) -> None:
        self.values = json.loads(data)


def transition(old: str, kind: str, value: str, expected: str) -> tuple[str, bytes]:
    """The value of a key after an operation, and the operation's result."""
    if kind == "put":
        return value, b""
    if kind == "append":
        return old + value, (old + value).encode()
    if kind == "swap":
        return (value, b"swapped") if old == expected else (old, b"refused")
    return old, old.encode()


class KeyValueWorkload:
    """Gets, puts, appends and swaps on few keys, each value written only once."""

    def __init__(self, keys: int = 3) -> None:
        self._keys = [f"k{number}" for number in range(1, keys + 1)]
        self._latest = dict.fromkeys(self._keys, "")  # so that some swaps succeed

    def draw(self, client: str, number: int, random: Random) -> KeyValueOperation:
        luck = random.random()
        key = self._keys[int(random.random() * len(self._keys))]
        if luck < 0.45:
            return KeyValueOperation("get", key)
        value = f"{client}.{number}"
        if luck < 0.65:
            operation = KeyValueOperation("put", key, value)
            self._latest[key] = value
        elif luck < 0.9:
            operation = KeyValueOperation("append", key, f"{value};")
        else:
            operation = KeyValueOperation("swap", key, value, self._latest[key])
            self._latest[key] = value
        return operation

    def command(self, operation: KeyValueOperation) -> bytes | None:
        if operation.kind == "get":
            return None
        return f"{operation.kind} {operation.key} {operation.value} {operation.expected}".encode()

    def query(self, machine: StateMachine, operation: KeyValueOperation) -> bytes:
        if not isinstance(machine, KeyValueMachine):
            raise TypeError(f"{type(machine).__name__}: this workload reads a KeyValueMachine")
        return machine.values.get(operation.key, "").encode()

    def partition(self, operation: KeyValueOperation) -> Hashable:
        return operation.key

    def initial(self) -> Hashable:
        return ""

    def step(self, state: Hashable, operation: KeyValueOperation, result: bytes | None) -> Hashable:
        new, given = transition(str(state), operation.kind, operation.value, operation.expected)
        return new if result is None or result == given else ILLEGAL


# ---------------------------------------------------------------- sessions around it


class Replica:
    """A state machine that applies each (client, seq) once, as the thesis (6.3) has it: results are remembered.

    A client has one command under way at a time, so the last one is enough.
    """

    def __init__(self, factory: Callable[[], StateMachine]) -> None:
        self.machine = factory()
        self.sessions: dict[str, tuple[int, bytes]] = {}

    def apply(self, index: int, client: str, seq: int, data: bytes) -> bytes | None:
        """The result; None for a command that is older than the session's last one, which has no effect."""
        last = self.sessions.get(client)
        if last is not None and seq <= last[0]:
            return last[1] if seq == last[0] else None
        result = self.machine.apply(index, data)
        self.sessions[client] = (seq, result)
        return result

    def snapshot(self) -> bytes:
        sessions = {client: [seq, result.hex()] for client, (seq, result) in sorted(self.sessions.items())}
        state = self.machine.snapshot()
        return json.dumps(sessions).encode() + b"\n" + (state() if callable(state) else state)

    def restore(self, data: bytes) -> None:
        sessions, _, rest = data.partition(b"\n")
        self.sessions = {client: (seq, bytes.fromhex(result)) for client, (seq, result) in json.loads(sessions).items()}
        self.machine.restore(rest)
