from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ConfigurationError, OrbitError, ParseError, Status
from orbit_lite.model import NodeId
from orbit_lite.node import values
from orbit_lite.node.values import Kind, advertised_url, derived_seed_id, parse_seed, suggestion

EVERYWHERE = "0.0.0.0"  # noqa: S104  (nothing is bound)
LEVEL = values.choice({"info": "info", "warning": "warning", "warn": "warning"})


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (values.TEXT, "a b", "a b"),
        (values.WHOLE, 5, 5),
        (values.WHOLE, "-5", -5),
        (values.NUMBER, 1, 1.0),
        (values.NUMBER, "0.5", 0.5),
        (values.NUMBER, "1e-3", 0.001),
        (values.FLAG, True, True),
        (values.FLAG, "YES", True),
        (values.FLAG, "0", False),
        (values.PATH, "/var/lib", Path("/var/lib")),
        (values.DURATION, 30, 30.0),
        (values.DURATION, 0.25, 0.25),
        (values.DURATION, "30", 30.0),
        (values.DURATION, "250ms", 0.25),
        (values.DURATION, "1.5s", 1.5),
        (values.DURATION, "5m", 300.0),
        (values.DURATION, "2 h", 7200.0),
        (values.DURATION, "1d", 86_400.0),
        (values.OPTIONAL_DURATION, "off", None),
        (values.OPTIONAL_DURATION, "1s", 1.0),
        (values.SIZE, 5, 5),
        (values.SIZE, "5", 5),
        (values.SIZE, "16MiB", 16 << 20),
        (values.SIZE, "64 KiB", 64 << 10),
        (values.SIZE, "1GiB", 1 << 30),
        (values.SIZE, "7B", 7),
        (values.NAMES, ["a", "b", "a"], ("a", "b")),
        (values.NAMES, " a, b ,,", ("a", "b")),
        (values.NAMES, "", ()),
        (values.NAME_SET, ["b", "a"], frozenset("ab")),
        (values.STATUSES, "unavailable,ABORTED", frozenset({Status.UNAVAILABLE, Status.ABORTED})),
        (values.NODE_ID, "ns:key", NodeId("key", "ns")),
        (values.NODE_ID, "key", NodeId("key")),
        (values.SEEDS, "a@http://h:1", {NodeId("a"): "http://h:1"}),
        (values.SEEDS, ["x:a@h:1", "http://h:2"], {NodeId("a", "x"): "http://h:1", NodeId("node-h-2"): "http://h:2"}),
        (values.PLACEMENT, {"T:k": "ns:n"}, {"T:k": NodeId("n", "ns")}),
        (LEVEL, "WARN", "warning"),
    ],
)
def test_values_are_read_from_text_and_from_toml(kind: Kind, written: object, value: object) -> None:
    assert kind.read(written) == value


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        (values.TEXT, "", "text that is not empty"),
        (values.TEXT, 5, "text"),
        (values.WHOLE, 1.0, "a whole number"),
        (values.WHOLE, True, "a whole number"),
        (values.WHOLE, "1_000", "a whole number"),
        (values.WHOLE, "٣", "a whole number"),
        (values.WHOLE, "9" * 5000, "a whole number"),
        (values.NUMBER, "nan", "a number"),
        (values.NUMBER, False, "a number"),
        (values.FLAG, 1, "true or false"),
        (values.FLAG, "maybe", "true or false"),
        (values.PATH, "a\0b", "a path"),
        (values.DURATION, "5 minutes", "seconds, or a duration"),
        (values.DURATION, "-1s", "seconds, or a duration"),
        (values.DURATION, "", "seconds, or a duration"),
        (values.DURATION, True, "seconds, or a duration"),
        (values.DURATION, "off", "seconds, or a duration"),
        (values.OPTIONAL_DURATION, "never", r'"5m", or "off"'),
        (values.SIZE, "16MB", "bytes, or a size"),
        (values.SIZE, 1.5, "bytes, or a size"),
        (values.NAMES, 5, "a list of names"),
        (values.NAMES, ["a", 5], "a list of names"),
        (values.STATUSES, ["UNAVAILBLE"], r"'UNAVAILBLE' \(did you mean UNAVAILABLE\?\)"),
        (values.NODE_ID, "ns:", "KEY or NAMESPACE:KEY"),
        (values.NODE_ID, 5, "KEY or NAMESPACE:KEY"),
        (values.SEEDS, ["a@ftp://h"], "unknown scheme"),
        (values.SEEDS, ["a@unix:/tmp/x"], "no address for other nodes"),
        (values.SEEDS, ["a@http://h:1", "a@http://h:2"], "one endpoint per node"),
        (values.SEEDS, 5, "a list of seeds"),
        (values.PLACEMENT, "T:k=n", "a table of"),
        (values.PLACEMENT, {"T:k": 5}, "KEY or NAMESPACE:KEY"),
        (LEVEL, "wraning", r"one of info, warning \(did you mean warning\?\)"),
        (LEVEL, 5, "one of info, warning"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_what_cannot_be_read_is_told_what_was_expected(kind: Kind, written: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        kind.read(written)


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (values.DURATION, 0.0, "0s"),
        (values.DURATION, 0.1, "100ms"),
        (values.DURATION, 0.0005, "0.0005s"),
        (values.DURATION, 1.5, "1.5s"),
        (values.DURATION, 90.0, "90s"),
        (values.DURATION, 300.0, "5m"),
        (values.DURATION, 172_800.0, "2d"),
        (values.SIZE, 16 << 20, "16MiB"),
        (values.SIZE, (1 << 20) + 1, (1 << 20) + 1),
        (values.SIZE, 0, 0),
    ],
)
def test_values_are_shown_as_people_write_them(kind: Kind, value: object, shown: object) -> None:
    assert kind.show(value) == shown


seeds = st.dictionaries(
    st.builds(NodeId, st.text("abc@:", min_size=1), st.text("xyz", min_size=1)),
    st.sampled_from(["http://h:1", "https://[::1]:5", "http://10.0.0.1:80"]),
    max_size=3,
)


@given(
    st.one_of(
        st.tuples(st.just(values.DURATION), st.floats(0, 1e6, allow_nan=False).map(lambda value: round(value, 3))),
        st.tuples(st.just(values.SIZE), st.integers(0, 1 << 40)),
        st.tuples(st.just(values.WHOLE), st.integers(-(10**17), 10**17)),
        st.tuples(st.just(values.NAMES), st.lists(st.text("ab.", min_size=1), unique=True).map(tuple)),
        st.tuples(st.just(values.STATUSES), st.frozensets(st.sampled_from(Status))),
        st.tuples(st.just(values.SEEDS), seeds),
        st.tuples(st.just(values.PLACEMENT), st.dictionaries(st.text(min_size=1), st.just(NodeId("k", "n")))),
    )
)
def test_what_is_shown_reads_back_as_it_was(case: tuple[Kind, object]) -> None:
    kind, value = case
    assert kind.read(kind.show(value)) == value
    assert kind.read(value) == value


def test_a_seed_without_an_id_goes_by_its_address_as_in_orbit_rs() -> None:
    assert parse_seed("http://10.0.0.1:50051") == (NodeId("node-10.0.0.1-50051"), "http://10.0.0.1:50051")
    assert derived_seed_id("http://10.0.0.1:50051") == NodeId("node-10.0.0.1-50051")


def test_a_seeds_id_may_be_in_any_form_and_hold_an_at_sign() -> None:
    assert parse_seed("(ns:a@b)@http://h:1") == (NodeId("a@b", "ns"), "http://h:1")


@pytest.mark.parametrize("text", ["", "@", "a@", "@http://h:1", "http://h:99999", "ns:@http://h:1"])
def test_a_seed_that_is_none_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError):
        parse_seed(text)


def test_suggestions_are_made_only_where_something_is_close() -> None:
    assert suggestion("prot", ["port", "bind"]) == " (did you mean port?)"
    assert suggestion("nonsense", ["port", "bind"]) == ""


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("advertise", "bind", "url"),
    [
        (None, "127.0.0.1", "http://127.0.0.1:50051"),
        (None, "localhost", "http://localhost:50051"),
        (None, "::1", "http://[::1]:50051"),
        (None, EVERYWHERE, "http://machine:50051"),
        (None, "::", "http://machine:50051"),
        (None, "0:0::0", "http://machine:50051"),
        ("node-1", EVERYWHERE, "http://node-1:50051"),
        ("node-1:8080", EVERYWHERE, "http://node-1:8080"),
        ("http://node-1", EVERYWHERE, "http://node-1:80"),
        ("https://node-1:443", "127.0.0.1", "https://node-1:443"),
        ("fe80::1", "::", "http://[fe80::1]:50051"),
        ("[fe80::1]", "::", "http://[fe80::1]:50051"),
        ("[fe80::1]:7", "::", "http://[fe80::1]:7"),
    ],
)
def test_the_address_that_others_are_told(advertise: str | None, bind: str, url: str) -> None:
    assert advertised_url(advertise, bind=bind, port=50051, hostname="machine") == url


@pytest.mark.parametrize("advertise", [EVERYWHERE, "::", "[::]:50051", "0.0.0.0:50051", "http://0.0.0.0:1", "0::0"])
def test_an_address_that_means_all_interfaces_is_none_to_call(advertise: str) -> None:
    with pytest.raises(ConfigurationError, match="others cannot call this address"):
        advertised_url(advertise, bind=EVERYWHERE, port=50051, hostname="machine")


@pytest.mark.parametrize("advertise", ["", "a b", "http://", "ftp://x", "unix:/tmp/x", "host:port", "a/b"])
def test_an_address_that_is_none_is_refused(advertise: str) -> None:
    with pytest.raises(OrbitError, match=r"^advertise="):
        advertised_url(advertise, bind="127.0.0.1", port=50051, hostname="machine")


def test_optional_kinds_say_how_none_is_written() -> None:
    assert (values.OPTIONAL_DURATION.none, values.DURATION.none) == ("off", None)
    kinds: Mapping[str, Kind] = {name: kind for name, kind in vars(values).items() if isinstance(kind, Kind)}
    assert kinds
    for kind in kinds.values():
        if kind.none is not None:
            assert kind.read(kind.none) is None
