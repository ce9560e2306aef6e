"""Learning by reflection what another process serves, and with which messages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import betterproto

from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.errors import SerializationError, Status
from orbit_lite.rpc import Method, NotFound, Unimplemented, rpc_error
from orbit_proto.grpc.reflection import v1, v1alpha

__all__ = ["ReflectionClient"]

#: What is taken from a peer for one pool: files, and bytes of all of them.
MOST_FILES = 1000
MOST_BYTES = 64 << 20

_VERSIONS: tuple[tuple[Method, Any], ...] = tuple(
    (
        Method(
            f"/grpc.reflection.{name}.ServerReflection/ServerReflectionInfo",
            client_streaming=True,
            server_streaming=True,
            request_type=proto.ServerReflectionRequest,
            reply_type=proto.ServerReflectionResponse,
        ),
        proto,
    )
    for name, proto in (("v1", v1), ("v1alpha", v1alpha))
)

_T = TypeVar("_T")
_Ask = Callable[[str, str], Coroutine[Any, Any, Any]]


class ReflectionClient:
    """Asks the server behind `channel`, in v1, or in v1alpha where it does not know that.

    timeout: seconds for each method of this class. All of them raise OrbitError, Unimplemented when the server has no
    reflection.
    """

    def __init__(self, channel: Any, *, timeout: float = 30.0) -> None:
        self._channel = channel
        self._timeout = timeout
        self._versions = _VERSIONS

    async def list_services(self) -> tuple[str, ...]:
        """Full names of the services, sorted."""

        async def ask_for_services(ask: _Ask) -> tuple[str, ...]:
            listed = await ask("list_services", "")
            return tuple(sorted(service.name for service in listed.service))

        return await self._talk(ask_for_services)

    async def pool_for(self, *symbols: str) -> DescriptorPool:
        """A pool with the files that declare the symbols, and all that these import.

        symbols: full names of services, methods (`package.Service/Method` too), messages or enums. Raises NotFound when
        the server does not know one, SerializationError for descriptors that make no sense or no end.
        """

        async def collect(ask: _Ask) -> DescriptorPool:
            pool = DescriptorPool()
            size = 0
            for symbol in symbols:
                name = symbol.removeprefix("/").replace("/", ".")
                size += _add(pool, await ask("file_containing_symbol", name))
            asked: set[str] = set()
            while wanted := [name for name in pool.missing if name not in asked]:
                for name in wanted:
                    if len(pool.files) >= MOST_FILES or size > MOST_BYTES:
                        raise SerializationError(f"there is no end of files: {len(pool.files)}, {size} bytes")
                    asked.add(name)
                    try:
                        size += _add(pool, await ask("file_by_filename", name))
                    except NotFound:
                        if not name.startswith("google/protobuf/"):  # the pool knows these without their files
                            raise
            return pool

        return await self._talk(collect)

    async def _talk(self, conversation: Callable[[_Ask], Coroutine[Any, Any, _T]]) -> _T:
        """Hold a conversation on one stream, in the first version that the server knows."""
        while True:
            method, proto = self._versions[0]
            try:
                async with self._channel.request(
                    method.path, method, method.request_type, method.reply_type, timeout=self._timeout
                ) as call:
                    return await conversation(_questioner(call, proto))
            except Unimplemented:
                if len(self._versions) == 1:
                    raise
                self._versions = self._versions[1:]


def _questioner(call: Any, proto: Any) -> _Ask:
    async def ask(question: str, value: str) -> Any:
        """The answer's content. Raises the error that the server answered with."""
        await call.send_message(proto.ServerReflectionRequest(**{question: value}))
        response = await call.recv_message()
        if response is None:
            raise SerializationError("the server ended the reflection stream without an answer")
        kind, content = betterproto.which_one_of(response, "message_response")
        answer: Any = content
        if kind == "error_response":
            known = answer.error_code in set(Status) - {Status.OK}
            raise rpc_error(Status(answer.error_code) if known else Status.UNKNOWN, answer.error_message)
        expected = "list_services_response" if question == "list_services" else "file_descriptor_response"
        if kind != expected:
            raise SerializationError(f"the server answered {question} with {kind or 'nothing'}")
        return answer

    return ask


def _add(pool: DescriptorPool, answer: Any) -> int:
    """Add the files of an answer; gives their size in bytes."""
    files: list[bytes] = answer.file_descriptor_proto
    for file in files:
        pool.add(file)
    return sum(map(len, files))
