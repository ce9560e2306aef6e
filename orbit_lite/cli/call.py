"""The verb `call`: ask any gRPC server, with what it says of itself by reflection instead of generated code."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orbit_lite.cli.options import connected, json_option, run, timeout_option
from orbit_lite.cli.output import print_json
from orbit_lite.errors import ConversionError, IoError, ParseError, quote

if TYPE_CHECKING:
    from orbit_lite.codec.descriptors import DescriptorPool, MethodDescriptor
    from orbit_lite.model import Json
    from orbit_lite.rpc import Channel

__all__ = ["call", "parse_header", "read_data", "split_method"]


@click.command(short_help="Call a method of any gRPC server, by reflection.")
@click.argument("address", metavar="HOST:PORT")
@click.argument("what", metavar="METHOD|list|describe")
@click.argument("symbol", required=False)
@click.option("-d", "--data", default="{}", metavar="JSON", help="The request; @FILE reads a file, @- stdin.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Metadata; again for more.")
@click.option(
    "--plaintext", is_flag=True, help="Without TLS, as HOST:PORT means anyway; https://HOST:PORT is with TLS."
)
@timeout_option
@json_option
def call(
    *,
    address: str,
    what: str,
    symbol: str | None,
    data: str,
    headers: tuple[str, ...],
    plaintext: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Call a method of any gRPC server that has server reflection, JSON in and out.

    \b
    orbit-lite call HOST:PORT list                     services
    orbit-lite call HOST:PORT list SERVICE             its methods
    orbit-lite call HOST:PORT describe [SYMBOL]        declarations, as in .proto files
    orbit-lite call HOST:PORT SERVICE/METHOD -d JSON   a unary or server-streaming method

    Each message of a stream is one JSON document on one line. Binary metadata (NAME ends in -bin) is written in base64.
    """
    if plaintext and address.lower().startswith(("https:", "grpcs:")):
        raise click.UsageError(f"--plaintext contradicts {address}", click.get_current_context())
    if what in ("list", "describe"):
        work = _list if what == "list" else _describe
        run(work(address, symbol, timeout=timeout, as_json=as_json))
        return
    if symbol is not None:
        raise click.UsageError(
            f"unexpected argument {symbol!r}; a request is given by --data", click.get_current_context()
        )
    request = read_data(data)
    metadata = [parse_header(header) for header in headers]
    run(_call(address, what, request, metadata, timeout=timeout, as_json=as_json))


# ---------------------------------------------------------------- what the user gave


def read_data(text: str) -> Json:
    """The JSON of --data, in which no object repeats a name. Raises ParseError and IoError."""
    from orbit_lite.converters.json_text import load_json_strictly

    if text.startswith("@"):
        name = "stdin" if text == "@-" else text[1:]
        try:
            data = sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ParseError(f"--data: {quote(name)!r} is not UTF-8: {error.reason} at byte {error.start}") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise IoError(f"--data: cannot read {quote(name)!r}: {reason}") from error
    try:
        return load_json_strictly("--data", text)
    except ConversionError as error:
        raise ParseError(f"--data is {error.problem}") from error


def parse_header(text: str) -> tuple[str, str | bytes]:
    """`name: value`; the value of a name in -bin is base64. Raises ParseError."""
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon or not name:
        raise ParseError(f"header {quote(text)!r}: write 'NAME: VALUE'")
    if not name.endswith("-bin"):
        return name, value
    try:
        return name, base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise ParseError(f"header {quote(name)!r}: the value of a -bin header is base64: {error}") from error


# ---------------------------------------------------------------- what the server says of itself


async def _list(address: str, service: str | None, *, timeout: float, as_json: bool) -> None:
    from orbit_lite.services import ReflectionClient

    async with connected(address, timeout) as channel:
        reflection = ReflectionClient(channel, timeout=timeout)
        if service is None:
            names = list(await reflection.list_services())
        else:
            pool = await reflection.pool_for(service)
            names = [method.path.removeprefix("/") for method in pool.service(service).methods]
    if as_json:
        print_json(names)
    else:
        print(*names, sep="\n")


async def _describe(address: str, symbol: str | None, *, timeout: float, as_json: bool) -> None:
    from orbit_lite.services import ReflectionClient

    async with connected(address, timeout) as channel:
        reflection = ReflectionClient(channel, timeout=timeout)
        symbols = [symbol] if symbol else await reflection.list_services()
        pool = await reflection.pool_for(*symbols)
    declarations = {name: pool.describe(name) for name in symbols}
    if as_json:
        print_json(declarations)
    else:
        print(*declarations.values(), sep="\n\n")


# ---------------------------------------------------------------- the call


async def _call(
    address: str,
    name: str,
    request: Json,
    metadata: Sequence[tuple[str, str | bytes]],
    *,
    timeout: float,
    as_json: bool,
) -> None:
    from orbit_lite.services import ReflectionClient

    service, method_name = split_method(name)
    async with connected(address, timeout) as channel:
        pool = await ReflectionClient(channel, timeout=timeout).pool_for(service)
        method = pool.service(service).method(method_name)
        if method.client_streaming:
            raise ParseError(f"{service}/{method_name} takes a stream of requests; call can only send a single one")
        replies = _replies(channel, pool, method, request, metadata, timeout=timeout)
        async with aclosing(replies):
            async for reply in replies:
                print_json(reply, indent=None if as_json or method.server_streaming else 2)


def split_method(name: str) -> tuple[str, str]:
    """`package.Service/Method`, or with a dot before Method, → service and method. Raises ParseError."""
    path = name.removeprefix("/")
    service, _, method = path.rpartition("/" if "/" in path else ".")
    if not service or not method:
        raise ParseError(f"method {quote(name)!r}: write package.Service/Method, or list, or describe")
    return service, method


async def _replies(
    channel: Channel,
    pool: DescriptorPool,
    method: MethodDescriptor,
    request: Json,
    metadata: Sequence[tuple[str, str | bytes]],
    *,
    timeout: float,
) -> AsyncGenerator[Json, None]:
    """The replies as JSON. Raises OrbitError."""
    from orbit_lite.codec.json import from_json, to_json
    from orbit_lite.rpc import MetadataError

    request_type, reply_type = pool.message(method.input_type), pool.message(method.output_type)
    message = from_json(request_type, request, types=pool.message)
    try:
        stream = channel.request(method.path, method, request_type, reply_type, timeout=timeout, metadata=metadata)
    except MetadataError as error:
        raise ParseError(f"header: {error}") from error
    async with stream as open_stream:
        await open_stream.send_message(message, end=True)
        async for reply in open_stream:
            yield to_json(reply, types=pool.message)
