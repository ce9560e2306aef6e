"""Failures as users meet them."""

from __future__ import annotations

import json
import re

import pytest

from orbit_lite import errors
from orbit_lite.cli.problems import Problem
from orbit_lite.errors import ConnectError, OrbitError, Status
from orbit_lite.model import NodeId
from orbit_lite.raft import NotLeader, StoreLocked
from orbit_lite.rpc import Unimplemented, rpc_error

KINDS = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
ERRORS = [kind for kind in KINDS if issubclass(kind, OrbitError) and kind is not errors.ConversionError]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_a_line_with_its_code(kind: type[OrbitError], capsys: pytest.CaptureFixture[str]) -> None:
    assert Problem.of(kind("something happened")).show(as_json=False) == 1
    told = capsys.readouterr()
    first, *rest = told.err.splitlines()
    assert re.fullmatch(rf"error: ([A-Z][a-z ]+: )?something happened \({kind.orb_code}\)", first)
    assert all(line.startswith("hint: ") for line in rest)
    assert len(rest) <= 1
    assert told.out == ""


def test_the_closest_kind_gives_the_hint() -> None:
    assert "orbit-lite serve" in Problem.of(ConnectError("x")).hint
    assert "list" in Problem.of(Unimplemented("x")).hint
    assert "--timeout" in Problem.of(rpc_error(Status.DEADLINE_EXCEEDED, "x")).hint


def test_who_asked_another_than_the_leader_is_sent_there() -> None:
    problem = Problem.of(NotLeader("the node does not lead; (default:b) does", leader=NodeId("b")))
    assert problem.orb_code == "ORB-3001"
    assert problem.hint.startswith("ask the leader that it names")
    assert "stop the node first" in Problem.of(StoreLocked("x")).hint


def test_for_machines_it_says_whether_the_call_may_have_run(capsys: pytest.CaptureFixture[str]) -> None:
    Problem.of(ConnectError("nobody there", peer="http://x:1")).show(as_json=True)
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["orb_code"] == "ORB-1101"
    assert (error["code"], error["executed"]) == ("UNAVAILABLE", "no")
    assert "http://x:1" in error["message"]
