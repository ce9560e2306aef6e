"""What a handler can know about its call."""

from __future__ import annotations

import pytest

from orbit_lite.rpc.context import CallContext, Peer, call_scope, current_call
from orbit_lite.rpc.deadline import Deadline, current_deadline, deadline_scope
from orbit_lite.rpc.metadata import Metadata


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (None, True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("nonsense", False),
    ],
)
def test_a_peer_is_local_on_loopback_and_on_unix_sockets(host: str | None, local: bool) -> None:
    assert Peer(host, 1 if host else None).is_local is local


def test_a_peer_has_a_text_and_grpclibs_methods() -> None:
    peer = Peer("::1", 5, {"subject": ()})
    assert str(peer) == "[::1]:5"
    assert str(Peer("10.0.0.1", 5)) == "10.0.0.1:5"
    assert str(Peer()) == "unix"
    assert peer.addr() == ("::1", 5)
    assert Peer().addr() is None
    assert peer.cert() == {"subject": ()}


def test_within_a_scope_the_call_is_current_and_its_deadline_in_force() -> None:
    call = CallContext("/s/M", Peer(), Metadata(), Deadline(5.0), "agent")
    assert current_call() is None
    with call_scope(call):
        assert current_call() is call
        assert current_deadline() == Deadline(5.0)
    assert current_call() is None
    assert current_deadline() is None


def test_a_deadline_inside_a_call_leaves_the_call_as_it_is() -> None:
    call = CallContext("/s/M", Peer(), Metadata(), Deadline(5.0), "agent")
    with call_scope(call):
        with deadline_scope(Deadline(3.0)):
            assert current_call() is call
            assert current_deadline() == Deadline(3.0)
            inner = CallContext("/s/N", Peer(), Metadata(), None, "agent")
            with call_scope(inner):
                assert current_call() is inner
                assert current_deadline() is None, "another call's deadline is not its own"
        assert current_deadline() == Deadline(5.0)
        with deadline_scope(None, inherit=False):
            assert current_call() is call
            assert current_deadline() is None
    with deadline_scope(Deadline(3.0)):
        assert current_call() is None
