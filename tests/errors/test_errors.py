from __future__ import annotations

import builtins
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite import errors
from orbit_lite.errors import (
    AddressableNotFound,
    AuthenticationError,
    ClusterError,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConversionError,
    DrainingError,
    Executed,
    InternalError,
    InvocationFailed,
    IoError,
    LeaseExpired,
    NetworkError,
    NodeNotFound,
    OrbitError,
    OverloadedError,
    ParseError,
    SerializationError,
    Status,
    StorageError,
    TimeoutError,
    from_description,
    quote,
)

KINDS: list[type[OrbitError]] = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, OrbitError)
]
NO, MAYBE, YES = Executed.NO, Executed.MAYBE, Executed.YES


def make(kind: type[OrbitError], message: str = "it broke") -> OrbitError:
    return ConversionError("field", message) if kind is ConversionError else kind(message)


# ---------------------------------------------------------------- the family


MEANINGS: list[tuple[type[OrbitError], type, Status, Executed, bool, str]] = [
    (NetworkError, OrbitError, Status.UNAVAILABLE, MAYBE, True, "Network error: "),
    (ConnectError, NetworkError, Status.UNAVAILABLE, NO, True, "Network error: "),
    (ConnectionLost, NetworkError, Status.UNAVAILABLE, MAYBE, True, "Network error: "),
    (TimeoutError, OrbitError, Status.DEADLINE_EXCEEDED, MAYBE, True, "Timeout: "),
    (ClusterError, OrbitError, Status.FAILED_PRECONDITION, NO, False, "Cluster error: "),
    (NodeNotFound, ClusterError, Status.NOT_FOUND, NO, False, "Node not found: "),
    (AddressableNotFound, ClusterError, Status.NOT_FOUND, NO, False, "Addressable not found: "),
    (LeaseExpired, ClusterError, Status.FAILED_PRECONDITION, NO, False, "Lease expired: "),
    (DrainingError, ClusterError, Status.UNAVAILABLE, NO, True, "Cluster error: "),
    (OverloadedError, ClusterError, Status.RESOURCE_EXHAUSTED, NO, True, "Cluster error: "),
    (InvocationFailed, OrbitError, Status.ABORTED, YES, False, "Invocation failed: "),
    (SerializationError, OrbitError, Status.INVALID_ARGUMENT, NO, False, "Serialization error: "),
    (ConversionError, SerializationError, Status.INVALID_ARGUMENT, NO, False, "Serialization error: "),
    (ParseError, OrbitError, Status.INVALID_ARGUMENT, NO, False, "Parse error: "),
    (ConfigurationError, OrbitError, Status.FAILED_PRECONDITION, NO, False, "Configuration error: "),
    (AuthenticationError, OrbitError, Status.UNAUTHENTICATED, NO, False, "Authentication error: "),
    (IoError, OrbitError, Status.INTERNAL, MAYBE, False, "IO error: "),
    (StorageError, OrbitError, Status.DATA_LOSS, MAYBE, False, "Storage error: "),
    (InternalError, OrbitError, Status.INTERNAL, MAYBE, False, "Internal error: "),
    (OrbitError, Exception, Status.UNKNOWN, MAYBE, False, ""),
]


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning[0].__name__)
def test_every_kind_knows_what_it_means(meaning: tuple[type[OrbitError], type, Status, Executed, bool, str]) -> None:
    kind, parent, code, executed, retryable, prefix = meaning
    error = make(kind)
    assert kind.__bases__[0] is parent
    assert (error.code, error.executed, error.retryable) == (code, executed, retryable)
    assert error.description == prefix + error.message


def test_the_table_above_has_every_kind() -> None:
    assert {kind for kind, *_ in MEANINGS} == set(KINDS)


def test_stable_codes_are_unique() -> None:
    codes = [kind.orb_code for kind in KINDS]
    assert len(codes) == len(set(codes))
    assert all(code.startswith("ORB-") and code[4:].isdigit() for code in codes)


def test_a_timeout_is_pythons_timeout_too() -> None:
    assert issubclass(TimeoutError, builtins.TimeoutError)


def test_what_surely_did_not_run_is_never_called_retryable_without_reason() -> None:
    """Retrying helps where another moment or node may do better, and harms where the call is wrong in itself."""
    assert {kind for kind in KINDS if kind.retryable} == {
        NetworkError,
        ConnectError,
        ConnectionLost,
        TimeoutError,
        DrainingError,
        OverloadedError,
    }


# ---------------------------------------------------------------- one error


def test_a_single_error_may_know_better_than_its_kind() -> None:
    error = NetworkError("x", code=Status.INTERNAL, executed=NO, retryable=False, details=[1], metadata={"a": "b"})
    assert (error.code, error.executed, error.retryable) == (Status.INTERNAL, NO, False)
    assert (error.details, error.metadata) == ((1,), (("a", "b"),))
    assert NetworkError("y").executed is MAYBE


def test_metadata_may_be_pairs_which_repeat() -> None:
    assert OrbitError("x", metadata=[("a", "1"), ("a", b"2")]).metadata == (("a", "1"), ("a", b"2"))


def test_an_error_says_where_it_happened_as_far_as_that_is_known() -> None:
    assert str(OrbitError("it broke")) == "it broke"
    error = OrbitError("it broke", peer="http://h:1", method="/a.B/C", attempt=2)
    assert str(error) == "it broke (peer http://h:1, method /a.B/C, attempt 2)"
    assert error.description == "it broke"


def test_what_is_known_later_is_filled_in_and_never_overwritten() -> None:
    error = OrbitError("x", peer="first")
    assert error.at(peer="second", method="m", attempt=0) is error
    assert (error.peer, error.method, error.attempt) == ("first", "m", 0)
    error.at()
    assert (error.peer, error.method, error.attempt) == ("first", "m", 0)


def test_an_actor_gives_its_reason_and_the_node_its_place() -> None:
    raised = InvocationFailed.because("insufficient funds")
    assert (raised.reason, raised.message) == ("insufficient funds", "insufficient funds")
    travels = InvocationFailed.of("debit", "Account", raised.reason)
    assert travels.description == "Invocation failed: debit on Account - insufficient funds"
    assert travels.reason == "insufficient funds"


def test_a_conversion_error_names_its_field_from_the_outside_in() -> None:
    cause = ValueError("x")
    error = ConversionError("vote_type", "unknown")
    error.__cause__ = cause
    outer = error.inside("vote").inside("message")
    assert (outer.field, outer.problem, outer.message) == ("message.vote.vote_type", "unknown", outer.message)
    assert outer.message == "message.vote.vote_type: unknown"
    assert outer.__cause__ is cause
    assert ConversionError("", "missing").inside("vote").field == "vote"
    assert ConversionError("", "missing").message == "missing"


# ---------------------------------------------------------------- text forms


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_form_reads_back_as_the_kind_that_it_names(kind: type[OrbitError]) -> None:
    error = make(kind)
    read = from_description(error.description, peer="p", method="m")
    named = next(base for base in kind.__mro__ if base in KINDS and vars(base).get("prefix") is not None)
    assert type(read) is named
    assert read.description == error.description
    assert (read.peer, read.method) == ("p", "m")


def test_words_of_orbit_rs_are_understood_with_what_it_adds() -> None:
    read = from_description("Addressable not found: Account:alice (context: lookup)")
    assert isinstance(read, AddressableNotFound)
    assert read.message == "Account:alice (context: lookup)"


def test_the_reason_of_a_failed_invocation_is_found_again() -> None:
    read = from_description("Invocation failed: debit on Account - no - really")
    assert isinstance(read, InvocationFailed)
    assert read.reason == "no - really"
    assert read.executed is YES
    bare = from_description("Invocation failed: it broke")
    assert isinstance(bare, InvocationFailed)
    assert bare.reason == "it broke"


def test_other_words_are_an_error_of_no_particular_kind() -> None:
    read = from_description("the moon is full")
    assert type(read) is OrbitError
    assert read.executed is MAYBE


@given(st.text(st.characters()))
def test_any_text_of_a_peer_becomes_an_error_on_one_line(text: str) -> None:
    read = from_description(text)
    assert len(str(read).splitlines()) <= 1
    str(read).encode()


# ---------------------------------------------------------------- quoting


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Zoë 漢字 🙂", "plain Zoë 漢字 🙂"),
        ("a\r\nb", r"a\r\nb"),
        ("\x00\x1b\x7f\x85\x9f", r"\x00\x1b\x7f\x85\x9f"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202e\u2066\u061c\u200e", r"\u202e\u2066\u061c\u200e"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_could_disturb_a_line_becomes_an_escape(text: str, shown: str) -> None:
    assert quote(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert quote("x" * 200) == "x" * 200
    assert quote("x" * 201) == "x" * 200 + "…"
    assert quote("abcdef", 3) == "abc…"


@given(st.text(st.characters()), st.integers(0, 50))
def test_quoted_text_is_one_line_with_a_utf8_form_and_a_bound(text: str, limit: int) -> None:
    shown = quote(text, limit)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert len(shown) <= 6 * limit + 1
