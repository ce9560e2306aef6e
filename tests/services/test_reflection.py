"""Reflection as a server, against betterproto's stubs and against grpcio's own reflection client."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

import betterproto
import pytest

from orbit_lite.codec import DecodeError
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.errors import Status
from orbit_lite.services import GrpcHealthService, reflection_services
from orbit_lite.services.reflection import shipped_descriptors
from orbit_proto.grpc.reflection import v1, v1alpha

SERVED = ["orbit.shared.ConnectionService", "grpc.health.v1.Health"]
LISTED = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "orbit.shared.ConnectionService",
]
MESSAGES_NEEDS = {
    "orbit/shared/messages.proto",
    "orbit/shared/addressable.proto",
    "orbit/shared/node.proto",
    "google/protobuf/timestamp.proto",
}


@pytest.fixture(params=[v1, v1alpha], ids=["v1", "v1alpha"])
def proto(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def ask(connect: Any, proto: Any) -> Callable[..., Any]:
    """Ask these questions on one stream; gives (kind, content) of each response."""

    async def ask(*questions: dict[str, Any], **options: Any) -> list[tuple[str, Any]]:
        channel = await connect(*reflection_services(SERVED, **options))
        requests = [proto.ServerReflectionRequest(host="h", **question) for question in questions]
        answers = [answer async for answer in proto.ServerReflectionStub(channel).server_reflection_info(requests)]
        assert [answer.original_request for answer in answers] == requests
        assert {answer.valid_host for answer in answers} == {"h"}
        return [betterproto.which_one_of(answer, "message_response") for answer in answers]

    return ask


def names_of(content: Any) -> list[str]:
    pool = DescriptorPool()
    return [pool.add(file).name for file in content.file_descriptor_proto]


async def test_what_is_served_is_listed_reflection_and_health_too(ask: Any) -> None:
    [(kind, listed), _] = await ask({"list_services": ""}, {"list_services": "*"})
    assert kind == "list_services_response"
    assert [service.name for service in listed.service] == LISTED


@pytest.mark.parametrize(
    "symbol",
    [
        "orbit.shared.MessageProto",
        "orbit.shared.MessageTargetProto.RoutedUnicast",
        "orbit.shared.InvocationReasonProto",
    ],
)
async def test_a_symbol_is_answered_with_its_file_and_all_that_it_imports(ask: Any, symbol: str) -> None:
    [(kind, content)] = await ask({"file_containing_symbol": symbol})
    assert kind == "file_descriptor_response"
    names = names_of(content)
    assert names[0] == "orbit/shared/messages.proto"
    assert set(names) == MESSAGES_NEEDS
    assert len(names) == len(MESSAGES_NEEDS)


async def test_services_and_methods_are_symbols(ask: Any) -> None:
    answers = await ask(
        {"file_containing_symbol": "orbit.shared.ConnectionService"},
        {"file_containing_symbol": "orbit.shared.ConnectionService.OpenStream"},
    )
    assert {names_of(content)[0] for _, content in answers} == {"orbit/shared/connection.proto"}


async def test_on_one_stream_dependencies_are_sent_once_and_what_is_asked_for_always(ask: Any) -> None:
    answers = await ask(
        {"file_by_filename": "orbit/shared/messages.proto"},
        {"file_by_filename": "orbit/shared/connection.proto"},
        {"file_by_filename": "orbit/shared/messages.proto"},
    )
    assert [names_of(content) for _, content in answers][1:] == [
        ["orbit/shared/connection.proto"],
        ["orbit/shared/messages.proto"],
    ]


async def test_files_go_out_as_the_bytes_that_protoc_wrote(ask: Any) -> None:
    [(_, content)] = await ask({"file_by_filename": "orbit/transactions/transaction.proto"})
    assert all(file in shipped_descriptors() for file in content.file_descriptor_proto)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"file_by_filename": "no/such.proto"}, "no file is named 'no/such.proto'"),
        ({"file_containing_symbol": "orbit.shared.Nothing"}, "'orbit.shared.Nothing'"),
        ({"file_containing_symbol": ""}, "''"),
        ({"all_extension_numbers_of_type": "no.Type"}, "'no.Type'"),
    ],
)
async def test_what_is_not_there_is_an_error_answer_and_the_stream_goes_on(
    ask: Any, question: dict[str, str], message: str
) -> None:
    [(kind, error), (second, _)] = await ask(question, {"list_services": ""})
    assert (kind, second) == ("error_response", "list_services_response")
    assert error.error_code == Status.NOT_FOUND
    assert message in error.error_message


async def test_extensions_do_not_exist(ask: Any, proto: Any) -> None:
    extension = proto.ExtensionRequest("orbit.shared.MessageProto", 1000)
    answers = await ask(
        {"file_containing_extension": extension}, {"all_extension_numbers_of_type": "orbit.shared.MessageProto"}
    )
    [(first, error), (second, numbers)] = answers
    assert (first, error.error_code) == ("error_response", Status.NOT_FOUND)
    assert (second, numbers.base_type_name) == ("all_extension_numbers_response", "orbit.shared.MessageProto")
    assert numbers.extension_number == []


async def test_a_request_without_a_question_is_an_error_answer(ask: Any) -> None:
    [(kind, error)] = await ask({})
    assert (kind, error.error_code) == ("error_response", Status.INVALID_ARGUMENT)


# FileDescriptorSet{file{name "u.proto" package "u" message_type{name "M"} syntax "proto3"}}
USERS = b"\x0a\x19\x0a\x07u.proto\x12\x01u\x22\x03\x0a\x01M\x62\x06proto3"


async def test_descriptors_of_users_are_served_too(ask: Any) -> None:
    [(_, content)] = await ask({"file_containing_symbol": "u.M"}, descriptors=[USERS])
    assert names_of(content) == ["u.proto"]


def test_bad_descriptors_are_refused_at_once() -> None:
    with pytest.raises(DecodeError):
        reflection_services([], descriptors=[b"\x0a\x05\x0a"])


@pytest.mark.interop
async def test_grpcios_reflection_client_reads_the_whole_catalogue(serve: Any) -> None:
    reason = "grpcio and its reflection package are not to be had here"
    grpc = pytest.importorskip("grpc", reason=reason)
    database = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database", reason=reason)
    descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool", reason=reason)
    server = await serve(GrpcHealthService(), *reflection_services(SERVED))

    def read() -> tuple[list[str], list[str], list[str]]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            known = database.ProtoReflectionDescriptorDatabase(channel)
            pool = descriptor_pool.DescriptorPool(known)
            service = pool.FindServiceByName("orbit.shared.ConnectionService")
            message = pool.FindMessageTypeByName("orbit.lite.GetStatusResponse")
            return (
                sorted(known.get_services()),
                [method.name for method in service.methods],
                [field.name for field in message.fields],
            )

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        services, methods, fields = await asyncio.get_running_loop().run_in_executor(pool, read)
    assert services == LISTED
    assert methods == ["OpenStream", "GetConnectionInfo"]
    assert fields[:2] == ["node", "cluster_id"]
