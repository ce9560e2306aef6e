"""Nothing in the package runs data as code, nor unpickles it, nor reaches past the interpreter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    "_pickle",
    "cPickle",
    "cffi",
    "code",
    "codeop",
    "ctypes",
    "dill",
    "marshal",
    "pickle",
    "runpy",
    "shelve",
    "yaml",
}
CALLS = {"__import__", "compile", "eval", "exec"}
# The codec's generated functions: built from checked identifiers and integers only, in one place.
ALLOWED = {("orbit_lite/codec/compile.py", "compile"), ("orbit_lite/codec/compile.py", "exec")}


def forbidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of each forbidden import, and of each mention of a forbidden builtin, called or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            if isinstance(node, ast.Name) and node.id in CALLS:
                yield node.lineno, node.id
            elif isinstance(node, ast.Attribute) and ast.unparse(node) in {f"builtins.{name}" for name in CALLS}:
                yield node.lineno, node.attr
            continue
        for name in names:
            if name.partition(".")[0] in MODULES:
                yield node.lineno, name


@pytest.mark.parametrize("folder", ["orbit_lite", "gen/orbit_proto"])
def test_no_module_can_run_or_unpickle_data(folder: str) -> None:
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        found += [
            f"{name}:{line} {what}"
            for line, what in forbidden(ast.parse(path.read_text(encoding="utf-8"), name))
            if (name, what) not in ALLOWED
        ]
    assert found == []


def test_exec_appears_once_in_the_whole_package() -> None:
    path = ROOT / "orbit_lite" / "codec" / "compile.py"
    mentions = [what for _, what in forbidden(ast.parse(path.read_text(encoding="utf-8")))]
    assert mentions.count("exec") == 1


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import yaml.loader",
        "eval('1')",
        "run = exec",
        "builtins.eval('1')",
    ],
)
def test_the_scan_sees_each_way_in(source: str) -> None:
    assert list(forbidden(ast.parse(source)))


def test_the_scan_leaves_methods_of_these_names_alone() -> None:
    assert not list(forbidden(ast.parse("re.compile('a'); loop.exec()")))
