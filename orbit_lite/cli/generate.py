"""The verb `generate`: from one's own .proto files to dataclasses and service stubs on this library's bases."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orbit_lite.cli.options import json_option
from orbit_lite.cli.output import print_json
from orbit_lite.cli.problems import FAILED
from orbit_lite.errors import IoError, quote

__all__ = ["generate"]

#: In every module that betterproto's plugin fills.
_MARK = b"# This file has been @generated"


@click.command(short_help="Generate Python modules from .proto files.")
@click.argument("sources", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "-I",
    "--proto-path",
    "include",
    multiple=True,
    default=["."],
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="PROTO_DIR",
    help="Folder from which imports are looked up, each FILE in one of them; again for more.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="OUT_DIR",
    help="Folder of the generated package; made if need be.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@json_option
def generate(*, sources: tuple[str, ...], include: tuple[Path, ...], out: Path, check: bool, as_json: bool) -> None:
    """Generate Python modules from .proto files: dataclasses and service stubs on orbit_lite.codec's bases.

    \b
    orbit-lite generate -I protos -o shop_proto protos/shop/v1/orders.proto

    OUT_DIR becomes a package with one module for each protobuf package, here shop_proto.shop.v1, and descriptors.binpb
    for server reflection. Give all files of a protobuf package at once. A file that was not generated is never
    overwritten. Needs the extra: pip install 'orbit-lite[generate]'.
    """
    from orbit_lite.cli import protoc

    try:
        generated = protoc.generate(sources, include=include)
    except protoc.ToolsMissing as error:
        raise click.ClickException(f"{error}: python -m pip install 'orbit-lite[generate]'") from error
    for warning in generated.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    changes = {path: state for path in sorted(generated.files) if (state := _state(out / path, generated.files[path]))}
    if not check:
        for path in changes:
            _write(out / path, generated.files[path])
    if as_json:
        print_json([{"file": str(out / path), "state": state} for path, state in changes.items()])
    else:
        for path, state in changes.items():
            print(f"{out / path}: {state}" if check else out / path)
    if check and changes:
        if not as_json:
            print("run the same command without --check and commit the result", file=sys.stderr)
        click.get_current_context().exit(FAILED)


def _state(target: Path, content: bytes) -> str:
    """What is wrong with the file: `missing`, `differs`, or "". Raises IoError where it must not be overwritten."""
    try:
        found = target.read_bytes()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        raise IoError(f"cannot read {quote(str(target))!r}: {error.strerror}") from error
    # An empty __init__.py only makes its folder a package, which the one that is there does as well.
    if found == content or (target.suffix == ".py" and not content):
        return ""
    if target.suffix == ".py" and found.strip() and _MARK not in found:
        raise IoError(f"{quote(str(target))!r} was not generated, and is not overwritten; name another folder by --out")
    return "differs"


def _write(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise IoError(f"cannot write {quote(str(target))!r}: {error.strerror}") from error
