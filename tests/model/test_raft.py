from __future__ import annotations

from typing import Any

import pytest

from orbit_lite.errors import ParseError
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    HeartBeat,
    LiteCommand,
    LiteKind,
    LogEntry,
    NodeId,
    VoteRequest,
    VoteResponse,
)

NODE = NodeId("node-1")
LARGEST = (1 << 64) - 1

WHOLE: list[tuple[type, dict[str, Any], list[str]]] = [
    (
        VoteRequest,
        {"term": 1, "candidate_id": NODE, "last_log_index": 1, "last_log_term": 1},
        ["term", "last_log_index", "last_log_term"],
    ),
    (VoteResponse, {"term": 1, "vote_granted": True, "voter_id": NODE}, ["term"]),
    (
        AppendEntriesRequest,
        {
            "term": 1,
            "leader_id": NODE,
            "prev_log_index": 1,
            "prev_log_term": 1,
            "entries": (),
            "leader_commit": 1,
        },
        ["term", "prev_log_index", "prev_log_term", "leader_commit"],
    ),
    (
        AppendEntriesResponse,
        {"term": 1, "success": True, "follower_id": NODE, "last_log_index": 1},
        ["term", "last_log_index"],
    ),
    (LogEntry, {"term": 1, "index": 1, "command": HeartBeat()}, ["term", "index"]),
    (LiteCommand, {"kind": LiteKind.DATA, "client": "c", "seq": 1, "data": b""}, ["seq"]),
]
FIELDS = [(cls, given, name) for cls, given, names in WHOLE for name in names]


@pytest.mark.parametrize(("cls", "given", "name"), FIELDS)
def test_terms_and_indices_are_uint64(cls: type, given: dict[str, Any], name: str) -> None:
    for number in (0, LARGEST):
        assert getattr(cls(**(given | {name: number})), name) == number
    for number in (-1, LARGEST + 1):
        with pytest.raises(ParseError, match=f"^{name} {number}: out of range of uint64"):
            cls(**(given | {name: number}))


def test_an_entrys_time_is_an_int64() -> None:
    for milliseconds in (-(1 << 63), (1 << 63) - 1):
        assert LogEntry(1, 1, HeartBeat(), milliseconds).timestamp_ms == milliseconds
    for milliseconds in (-(1 << 63) - 1, 1 << 63):
        with pytest.raises(ParseError, match="out of range of int64"):
            LogEntry(1, 1, HeartBeat(), milliseconds)


@pytest.mark.parametrize(("cls", "given"), [(cls, given) for cls, given, _ in WHOLE])
def test_values_of_raft_never_change_and_serve_as_keys(cls: type, given: dict[str, Any]) -> None:
    value = cls(**given)
    assert {value: 1}[cls(**given)] == 1
    assert not hasattr(value, "__dict__")
