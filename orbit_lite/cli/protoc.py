"""protoc and betterproto's plugin as one function: .proto files → modules whose classes have this library's bases.

protoc comes with grpcio-tools, the plugin with betterproto[compiler]: the extra `generate`, which nothing else needs.
This module imports neither, nor anything generated: it makes orbit_proto as well.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from orbit_lite.errors import ConfigurationError, IoError, ParseError, quote

__all__ = ["DESCRIPTORS", "Generated", "ToolsMissing", "generate", "read_tree", "with_own_bases"]

#: Beside the modules: the FileDescriptorSet of all files and their imports, as `reflection_services` takes it.
DESCRIPTORS = "descriptors.binpb"

_PLUGIN = "protoc-gen-python_betterproto"
#: What runs protoc, and what the plugin cannot run without.
_MODULES = ("grpc_tools", "betterproto", "black", "isort", "jinja2")
_BASE = re.compile(r"^(class \w+)\(betterproto\.(Message|ServiceStub)\):$", re.MULTILINE)
#: How the generated stubs pass on replies: closing the outer generator leaves the inner one, which holds the call open,
#: to the garbage collector.
_REPLIES = re.compile(
    r"^        async for response in (self\._(?:unary|stream)_stream\(\n(?: {12}.+\n)+ {8}\)):\n {12}yield response$",
    re.MULTILINE,
)
_REPLIES_CLOSED = r"""        responses = \1
        async with aclosing(responses):
            async for response in responses:
                yield response"""


class ToolsMissing(ConfigurationError):
    """The extra `generate` is not installed, or not all of it."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What was generated: contents by path below the output folder, and protoc's warnings, one a line."""

    files: dict[Path, bytes]
    warnings: tuple[str, ...]


def generate(sources: Sequence[str], *, include: Sequence[Path]) -> Generated:
    """Compile .proto files and all that they import, except google.protobuf, which betterproto brings.

    sources: as protoc takes them, paths of files that lie in a folder of `include`, or their names as in an import.
    Raises ToolsMissing, IoError for a file that is not there, and ParseError with protoc's lines `file:line:column: …`.
    """
    plugin = _find_tools()
    found = [_find(source, include) for source in sources]
    with tempfile.TemporaryDirectory() as folder:
        # The plugin leaves out an __init__.py that exists below the current directory, so it runs in an empty one.
        output = Path(folder)
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--proto_path={os.path.abspath(path)}" for path in include),
            *(f"--plugin={_PLUGIN}={plugin}", f"--python_betterproto_out={output}"),
            *(f"--descriptor_set_out={output / DESCRIPTORS}", "--include_imports"),
            *found,
        ]
        done = subprocess.run(  # noqa: S603  # no shell; every path is absolute, so none is taken for an option
            command, cwd=output, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False
        )
        said = [quote(line, 1000) for line in done.stderr.splitlines() if not line.startswith("Writing ")]
        if done.returncode:
            raise ParseError("\n".join(said) or f"protoc ended with status {done.returncode} and said nothing")
        for path in output.rglob("*.py"):
            path.write_bytes(with_own_bases(path.read_bytes().decode()).encode())
        return Generated(read_tree(output), tuple(said))


def _find_tools() -> str:
    """Where the plugin is."""
    scripts = sysconfig.get_path("scripts"), str(Path(sys.executable).parent)
    plugin = shutil.which(_PLUGIN, path=os.pathsep.join(scripts)) or shutil.which(_PLUGIN)
    missing = [name for name in _MODULES if find_spec(name) is None] + ([] if plugin else [_PLUGIN])
    if plugin is None or missing:
        raise ToolsMissing(f"the compiler for .proto files is not installed: {', '.join(missing)} not found")
    return plugin


def _find(source: str, include: Sequence[Path]) -> str:
    """The absolute path of the source. Raises IoError when there is none."""
    for path in (Path(source), *(folder / source for folder in include)):
        if path.is_file():
            return os.path.abspath(path)
    places = " or ".join(quote(str(folder)) for folder in include)
    raise IoError(f"no file {quote(source)!r} here or in {places}")


def with_own_bases(source: str) -> str:
    """The module with its messages and stubs on orbit-lite's bases, which cost a fraction of betterproto's.

    A stub's stream ends its call when it is closed.
    """
    source, count = _BASE.subn(r"\1(orbit_lite.codec.\2):", source)
    if not count:
        return source
    source, count = _REPLIES.subn(_REPLIES_CLOSED, source)
    if count:
        source = re.sub("^from ", "from contextlib import aclosing\nfrom ", source, count=1, flags=re.MULTILINE)
    # Behind the imports of the same form, where isort would put it.
    *_, last = re.finditer(r"^import .+\n", source, re.MULTILINE)
    return f"{source[: last.end()]}import orbit_lite.codec\n{source[last.end() :]}"


def read_tree(root: Path) -> dict[Path, bytes]:
    """The files below a folder, by their path from there; without Python's caches."""
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
