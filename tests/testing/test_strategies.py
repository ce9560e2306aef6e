"""The strategies draw valid values, reach their corners, and can do without Hypothesis only by saying so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import betterproto
import pytest
from betterproto.lib.google.protobuf import Struct
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from orbit_lite.converters.presence import fields, is_present
from orbit_lite.model import (
    Acknowledge,
    AddressableReference,
    Content,
    InvocationRequest,
    InvocationResponse,
    Key,
    KeyKind,
    Message,
    NodeId,
    NodeInfo,
    RaftCommand,
    StringKey,
    TransactionMessage,
    TransactionVote,
    VoteType,
)
from orbit_lite.testing import strategies as orbit
from orbit_proto.grpc.health.v1 import HealthListResponse
from orbit_proto.orbit.shared import KeyProto, MessageContentProto, NodeInfoProto
from orbit_proto.orbit.transactions import TransactionVoteProto, VoteMessage

once = settings(max_examples=1000, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))


def test_every_strategy_of_the_module_draws() -> None:
    for name in orbit.__all__:
        strategy = orbit.protos(KeyProto) if name == "protos" else getattr(orbit, name)()
        find(strategy, lambda _: True, settings=once)


@given(orbit.messages())
def test_messages_are_messages(message: Message) -> None:
    assert isinstance(message, Message)


@pytest.mark.parametrize("kind", KeyKind)
def test_keys_and_references_keep_to_the_kinds_asked_for(kind: KeyKind) -> None:
    @given(orbit.keys(kinds=[kind]), orbit.addressable_references(kinds=[kind]))
    @settings(max_examples=20)
    def check(key: Key, reference: object) -> None:
        assert key.kind is kind
        assert getattr(reference, "key", key).kind is kind

    check()


@pytest.mark.parametrize(
    ("strategy", "members"),
    [
        (orbit.contents(), Content),
        (orbit.transaction_messages(), TransactionMessage),
        (orbit.raft_commands(), RaftCommand),
    ],
    ids=["contents", "transaction messages", "raft commands"],
)
def test_every_member_of_a_union_is_drawn(strategy: st.SearchStrategy[object], members: object) -> None:
    for member in getattr(members, "__args__"):  # noqa: B009  (a union has them, which mypy does not know)
        find(strategy, lambda value, member=member: isinstance(value, member), settings=once)  # type: ignore[misc]


@given(orbit.node_ids())
def test_node_ids_have_a_text_form_that_reads_back(node_id: NodeId) -> None:
    assert NodeId.parse(str(node_id)) == node_id


def test_node_ids_try_the_text_form() -> None:
    find(orbit.node_ids(), lambda node_id: ":" in node_id.key, settings=once)
    find(orbit.node_ids(), lambda node_id: node_id.namespace == "", settings=once)


@given(orbit.node_infos())
def test_a_nodes_lease_is_its_own(info: NodeInfo) -> None:
    assert info.lease is None or info.lease.node_id == info.id


@given(orbit.transaction_votes())
def test_a_yes_has_no_reason(vote: TransactionVote) -> None:
    assert vote.type is not VoteType.YES or vote.reason is None


@given(orbit.invocation_requests())
def test_arguments_are_a_json_array(request: InvocationRequest) -> None:
    assert isinstance(json.loads(request.arguments), list)


@given(orbit.timestamps())
def test_timestamps_are_in_utc(moment: datetime) -> None:
    assert moment.tzinfo is UTC


HELLO, ACTOR = InvocationResponse("hello"), AddressableReference.of("Account", 42)


@given(orbit.messages(content=st.just(HELLO)), orbit.transaction_messages(actor=st.just(ACTOR)))
def test_parts_can_be_replaced(message: Message, transaction_message: TransactionMessage) -> None:
    assert message.content is HELLO
    assert not isinstance(transaction_message, Acknowledge) or transaction_message.participant is ACTOR


# protos


def test_protos_leave_out_and_put_in_every_field() -> None:
    votes = orbit.protos(VoteMessage)
    find(votes, lambda message: not is_present(message, "vote"), settings=once)
    find(votes, lambda message: is_present(message, "vote") and not message.vote, settings=once)
    find(orbit.protos(TransactionVoteProto), lambda vote: fields(vote)["reason"] == "", settings=once)


def test_protos_choose_none_or_one_member_of_a_oneof() -> None:
    contents = orbit.protos(MessageContentProto)
    find(contents, lambda content: betterproto.which_one_of(content, "content")[0] == "", settings=once)
    for name in ("error", "info_request", "invocation_response_error"):
        find(contents, lambda content, name=name: content.is_set(name), settings=once)  # type: ignore[misc]


def test_protos_draw_enum_numbers_without_a_name() -> None:
    find(orbit.protos(NodeInfoProto), lambda node: node.status.name is None, settings=once)


def test_a_failing_test_shows_the_message_as_it_was_drawn() -> None:
    @given(orbit.protos(MessageContentProto))
    @settings(database=None)
    def fail(content: MessageContentProto) -> None:
        raise ValueError("this test fails")

    with pytest.raises(ValueError, match="this test fails") as caught:
        fail()
    assert "content=MessageContentProto()" in "\n".join(caught.value.__notes__)


@dataclass(eq=False, repr=False)
class Everything(betterproto.Message):
    """One field of each shape that Orbit's own messages do not have."""

    moments: list[datetime] = betterproto.message_field(1)  # noqa: RUF009  (a field specifier of betterproto's)
    span: timedelta = betterproto.message_field(2)  # noqa: RUF009
    wrapped: bool | None = betterproto.message_field(3, wraps=betterproto.TYPE_BOOL)
    numbers: list[int] = betterproto.sint32_field(4)  # noqa: RUF009
    data: bytes = betterproto.bytes_field(5)
    ratio: float = betterproto.float_field(6)
    inner: Everything = betterproto.message_field(7)  # noqa: RUF009
    by_number: dict[int, str] = betterproto.map_field(  # noqa: RUF009
        8, betterproto.TYPE_INT32, betterproto.TYPE_STRING
    )


@given(orbit.protos(Everything))
@settings(max_examples=30)
def test_protos_know_every_shape_of_field(message: Everything) -> None:
    assert isinstance(bytes(message), bytes)


@given(orbit.protos(HealthListResponse), orbit.protos(Struct))
@settings(max_examples=30)
def test_protos_know_maps_of_messages_and_classes_that_hold_themselves(
    listing: HealthListResponse, struct: Struct
) -> None:
    assert isinstance(listing, HealthListResponse)
    assert isinstance(struct, Struct)


# Without Hypothesis


def test_the_package_loads_without_hypothesis_and_the_strategies_say_what_to_install() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import orbit_lite.testing\n"
        "try:\n    import orbit_lite.testing.strategies\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'orbit_lite.testing.strategies needs Hypothesis: pip install "orbit-lite[testing]"'


def test_string_keys_reach_any_script() -> None:
    find(orbit.keys(), lambda key: isinstance(key, StringKey) and not key.key.isascii(), settings=once)


# Documentation


@pytest.mark.parametrize("page", ["testing.md", "converters.md"])
def test_the_examples_of_the_documentation_run(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        names: dict[str, object] = {"__name__": page}
        exec(compile(example, page, "exec"), names)  # noqa: S102  (our own text)
        for name, test in names.items():
            if name.startswith("test_") and callable(test):
                test()
