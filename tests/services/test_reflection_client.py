"""Learning a server's services by reflection, from servers that know one version, both, none, or lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import betterproto
import pytest

from orbit_lite.errors import SerializationError
from orbit_lite.rpc import NotFound, Unimplemented, UnknownError
from orbit_lite.services import GrpcHealthService, ReflectionClient, reflection_services
from orbit_proto.grpc.reflection import v1


@pytest.mark.parametrize("versions", [slice(0, 2), slice(0, 1), slice(1, 2)], ids=["both", "v1", "v1alpha"])
async def test_services_are_listed_and_their_messages_built_in_any_version(connect: Any, versions: slice) -> None:
    channel = await connect(*reflection_services(["orbit.shared.ConnectionService"])[versions])
    client = ReflectionClient(channel)
    assert "orbit.shared.ConnectionService" in await client.list_services()
    pool = await client.pool_for("/orbit.shared.ConnectionService/OpenStream")
    method = pool.service("orbit.shared.ConnectionService").method("OpenStream")
    assert (method.input_type, method.client_streaming) == ("orbit.shared.MessageProto", True)
    assert pool.missing == ()
    node_info: Any = pool.message("orbit.shared.NodeInfoProto")
    assert node_info(port=7).port == 7
    assert channel.open_streams == 0


async def test_one_pool_holds_what_several_symbols_need(connect: Any) -> None:
    client = ReflectionClient(await connect(*reflection_services([])))
    pool = await client.pool_for("grpc.health.v1.Health", "orbit.shared.HealthService", "grpc.health.v1.Health")
    assert pool.services() == ("grpc.health.v1.Health", "orbit.shared.HealthService")


async def test_a_server_without_reflection_is_unimplemented(connect: Any) -> None:
    client = ReflectionClient(await connect(GrpcHealthService()))
    for _ in range(2):
        with pytest.raises(Unimplemented):
            await client.list_services()


async def test_an_unknown_symbol_is_not_found_with_what_the_server_says(connect: Any) -> None:
    client = ReflectionClient(await connect(*reflection_services([])))
    with pytest.raises(NotFound, match=r"'orbit\.shared\.Nothing'"):
        await client.pool_for("orbit.shared.Nothing")


Answer = Callable[[str, str], v1.ServerReflectionResponse | None]


class Scripted(v1.ServerReflectionBase):
    """Answers each question by a function of its kind and value; None ends the stream."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def server_reflection_info(
        self, server_reflection_request_iterator: AsyncIterator[v1.ServerReflectionRequest]
    ) -> AsyncIterator[v1.ServerReflectionResponse]:
        async for request in server_reflection_request_iterator:
            kind, value = betterproto.which_one_of(request, "message_request")
            response = self._answer(kind, str(value))
            if response is None:
                return
            yield response


def file(name: str, *imports: str) -> bytes:
    """A serialized FileDescriptorProto."""
    fields = [b"\x0a" + bytes([len(name)]) + name.encode()]
    fields += [b"\x1a" + bytes([len(other)]) + other.encode() for other in imports]
    return b"".join(fields)


def files(*serialized: bytes) -> v1.ServerReflectionResponse:
    return v1.ServerReflectionResponse(file_descriptor_response=v1.FileDescriptorResponse(list(serialized)))


def endless(kind: str, value: str) -> v1.ServerReflectionResponse:
    """Each file imports one more."""
    return files(file(value, value + "x"))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda kind, value: None, "ended the reflection stream"),
        (lambda kind, value: v1.ServerReflectionResponse(), "answered file_containing_symbol with nothing"),
        (
            lambda kind, value: v1.ServerReflectionResponse(list_services_response=v1.ListServiceResponse()),
            "answered file_containing_symbol with list_services_response",
        ),
        (lambda kind, value: files(b"\x0a\x05x"), "FileDescriptorProto"),
        (endless, "there is no end of files: 50, "),
    ],
    ids=["ends", "nothing", "other", "broken", "endless"],
)
async def test_answers_that_make_no_sense_or_no_end_are_serialization_errors(
    connect: Any, monkeypatch: pytest.MonkeyPatch, answer: Answer, problem: str
) -> None:
    monkeypatch.setattr("orbit_lite.services.reflection_client.MOST_FILES", 50)
    client = ReflectionClient(await connect(Scripted(answer)))
    with pytest.raises(SerializationError, match=problem):
        await client.pool_for("x.Y")


async def test_only_of_well_known_files_is_it_no_harm_when_the_server_does_not_have_them(connect: Any) -> None:
    def answer(kind: str, value: str) -> v1.ServerReflectionResponse:
        if kind == "file_containing_symbol":
            imports = ["google/protobuf/any.proto"] + (["gone.proto"] if value == "Bad" else [])
            return files(file("a.proto", *imports))
        return v1.ServerReflectionResponse(error_response=v1.ErrorResponse(5, f"no {value}"))

    client = ReflectionClient(await connect(Scripted(answer)))
    with pytest.raises(NotFound, match=r"no gone\.proto"):
        await client.pool_for("Bad")
    pool = await client.pool_for("Good")
    assert pool.missing == ("google/protobuf/any.proto",)


async def test_a_code_that_is_no_status_is_unknown(connect: Any) -> None:
    error = v1.ServerReflectionResponse(error_response=v1.ErrorResponse(99, "odd"))
    with pytest.raises(UnknownError, match="odd"):
        await ReflectionClient(await connect(Scripted(lambda kind, value: error))).pool_for("x.Y")
