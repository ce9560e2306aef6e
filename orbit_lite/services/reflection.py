"""Server reflection, v1 and v1alpha: what this process serves, from the descriptors that ship with it.

A file goes out as the bytes that protoc wrote, with the files that it needs; of these, on one stream, each only once.
Extensions, which Orbit's files do not use, are not looked for.

Source: grpc/doc/server-reflection.md, grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from importlib.resources import files
from typing import Any

import betterproto

from orbit_lite.codec.descriptors import DescriptorPool, ProtoFile, SymbolNotFound
from orbit_lite.errors import Status, quote
from orbit_lite.services.streaming import ClosingService
from orbit_proto.grpc.reflection import v1, v1alpha

__all__ = ["reflection_services"]

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_services(
    served: Iterable[str], *, descriptors: Iterable[bytes] = ()
) -> list[v1.ServerReflectionBase | v1alpha.ServerReflectionBase]:
    """Both versions of the reflection service, for a server that also serves these services.

    served: full names. descriptors: serialized FileDescriptorSets of services beyond orbit-lite's own, as
    `protoc --include_imports --descriptor_set_out` writes them. Raises DecodeError and DescriptorError for bad ones.
    """
    pool = DescriptorPool()
    for descriptor_set in (shipped_descriptors(), *descriptors):
        pool.add_set(descriptor_set)
    catalogue = _Catalogue(pool, sorted({*served, *NAMES}))
    return [_ReflectionV1(catalogue), _ReflectionV1Alpha(catalogue)]


def shipped_descriptors() -> bytes:
    """The FileDescriptorSet of everything in orbit_proto."""
    return files("orbit_proto").joinpath("descriptors.binpb").read_bytes()


class _Catalogue:
    """Answers requests of either version: their messages differ in nothing but their package."""

    def __init__(self, pool: DescriptorPool, services: list[str]) -> None:
        self._pool = pool
        self._services = services
        self._files = {file.name: file for file in pool.files}

    def answer(self, proto: Any, request: Any, sent: set[str]) -> Any:
        """The response to one request. proto: the version's module. sent: names of files that this stream has had."""
        kind, value = betterproto.which_one_of(request, "message_request")
        try:
            answer = self._answer(proto, kind, value, sent)
        except SymbolNotFound as error:
            answer = _failure(proto, Status.NOT_FOUND, error.message)
        return proto.ServerReflectionResponse(valid_host=request.host, original_request=request, **answer)

    def _answer(self, proto: Any, kind: str, value: Any, sent: set[str]) -> dict[str, Any]:
        match kind:
            case "list_services":
                listed = proto.ListServiceResponse([proto.ServiceResponse(name) for name in self._services])
                return {"list_services_response": listed}
            case "file_by_filename" if value in self._files:
                return self._with_dependencies(proto, self._files[value], sent)
            case "file_by_filename":
                return _failure(proto, Status.NOT_FOUND, f"no file is named {quote(value)!r}")
            case "file_containing_symbol":
                return self._with_dependencies(proto, self._pool.file_for_symbol(value), sent)
            case "file_containing_extension":
                extended = f"{quote(value.containing_type)} has no extension {value.extension_number}"
                return _failure(proto, Status.NOT_FOUND, extended)
            case "all_extension_numbers_of_type":
                self._pool.file_for_symbol(value)
                return {"all_extension_numbers_response": proto.ExtensionNumberResponse(base_type_name=value)}
            case _:
                return _failure(proto, Status.INVALID_ARGUMENT, "the request asks for nothing that is known here")

    def _with_dependencies(self, proto: Any, file: ProtoFile, sent: set[str]) -> dict[str, Any]:
        """The file, sent before or not, then what it imports, directly or not, and has not been sent."""
        found = {file.name: file}
        waiting = [file]
        while waiting:
            for name in waiting.pop().dependencies:
                if name not in found and name not in sent and name in self._files:
                    found[name] = self._files[name]
                    waiting.append(self._files[name])
        sent.update(found)
        return {"file_descriptor_response": proto.FileDescriptorResponse([file.serialized for file in found.values()])}


def _failure(proto: Any, code: Status, message: str) -> dict[str, Any]:
    return {"error_response": proto.ErrorResponse(int(code), message)}


class _ReflectionV1(ClosingService, v1.ServerReflectionBase):
    def __init__(self, catalogue: _Catalogue) -> None:
        self._catalogue = catalogue

    async def server_reflection_info(
        self, server_reflection_request_iterator: AsyncIterator[v1.ServerReflectionRequest]
    ) -> AsyncGenerator[v1.ServerReflectionResponse, None]:
        """One response per request, in their order."""
        sent: set[str] = set()
        async for request in server_reflection_request_iterator:
            yield self._catalogue.answer(v1, request, sent)


class _ReflectionV1Alpha(ClosingService, v1alpha.ServerReflectionBase):
    def __init__(self, catalogue: _Catalogue) -> None:
        self._catalogue = catalogue

    async def server_reflection_info(
        self, server_reflection_request_iterator: AsyncIterator[v1alpha.ServerReflectionRequest]
    ) -> AsyncGenerator[v1alpha.ServerReflectionResponse, None]:
        """One response per request, in their order."""
        sent: set[str] = set()
        async for request in server_reflection_request_iterator:
            yield self._catalogue.answer(v1alpha, request, sent)
