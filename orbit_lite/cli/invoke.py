"""The verb `invoke`: call a method of an actor, wherever in the cluster it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orbit_lite.cli.options import endpoint_option, json_option, run, timeout_option
from orbit_lite.cli.output import print_json
from orbit_lite.errors import ConversionError
from orbit_lite.model import Key, KeyKind

if TYPE_CHECKING:
    from orbit_lite.model import Json

__all__ = ["argument", "invoke"]

_KINDS = {kind.name.lower(): kind for kind in KeyKind}


@click.command(short_help="Call a method of an actor.")
@click.argument("actor_type", metavar="TYPE")
@click.argument("key")
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARGS]...")
@click.option(
    "--key-kind", type=click.Choice(list(_KINDS)), default="string", show_default=True, help="How KEY is meant."
)
@click.option("--string", "as_text", is_flag=True, help="Take every argument as text.")
@endpoint_option
@timeout_option
@json_option
def invoke(
    *,
    actor_type: str,
    key: str,
    method: str,
    arguments: tuple[str, ...],
    key_kind: str,
    as_text: bool,
    endpoint: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Call METHOD of the actor TYPE:KEY and print its result as JSON.

    An argument that is JSON (12, true, null, '"text"', '{"a": [1]}') is passed as that, any other as text. Put --
    before arguments that begin with a dash. KEY of a type without keys (--key-kind none) is "-".
    """
    parsed: list[Json] = [text if as_text else argument(text) for text in arguments]
    kind = _KINDS[key_kind]
    reference_key = Key.of(None) if kind is KeyKind.NONE and key == "-" else Key.parse(key, kind)
    result = run(_invoke(actor_type, reference_key, method, parsed, endpoint=endpoint, timeout=timeout))
    print_json(result, indent=None if as_json else 2)


def argument(text: str) -> Json:
    """The JSON value that the text is, else the text."""
    from orbit_lite.converters.json_text import load_json

    try:
        return load_json("argument", text)
    except ConversionError:
        return text


async def _invoke(
    actor_type: str, key: Key, method: str, arguments: list[Json], *, endpoint: str, timeout: float
) -> Json:
    from orbit_lite.node.client import OrbitClient

    async with OrbitClient((endpoint,), connection_timeout=min(timeout, 3600.0), request_timeout=timeout) as client:
        return await client.actor(actor_type, key).invoke(method, *arguments, timeout=timeout)
