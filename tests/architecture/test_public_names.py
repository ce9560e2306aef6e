"""What `from orbit_lite import …` offers is what the packages say they offer."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import orbit_lite

HOMES: dict[str, tuple[str, ...]] = orbit_lite._HOMES
PACKAGES = ["orbit_lite.errors"] + [
    f"orbit_lite.{module.name}"
    for module in pkgutil.iter_modules(orbit_lite.__path__)
    if module.ispkg and module.name != "testing"  # needs the extra of the same name
]


@pytest.mark.parametrize("name", orbit_lite.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(orbit_lite, name) is not None
    assert name in dir(orbit_lite)


def test_no_public_name_is_promised_twice() -> None:
    assert len(orbit_lite.__all__) == len(set(orbit_lite.__all__))


@pytest.mark.parametrize("home", HOMES)
def test_every_public_name_is_public_in_its_package(home: str) -> None:
    missing = set(HOMES[home]) - set(importlib.import_module(home).__all__)
    assert not missing, f"not in {home}.__all__: {sorted(missing)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_lists_its_public_names_and_has_them(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(module.__all__) == len(set(module.__all__))


def test_type_checkers_see_the_same_names_from_the_same_homes() -> None:
    """A name loaded on first use is an `object` to type checkers, unless `if TYPE_CHECKING:` imports it `as` itself."""
    tree = ast.parse(Path(orbit_lite.__file__).read_text(encoding="utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        (statement.module, alias.name)
        for block in guarded
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if alias.asname == alias.name
    }
    assert seen == {(home, name) for home, names in HOMES.items() for name in names}


def test_every_converter_is_public() -> None:
    converters = importlib.import_module("orbit_lite.converters")
    assert {name for name in converters.__all__ if name.endswith("Converter")} <= set(orbit_lite.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        orbit_lite.Nonsense  # noqa: B018  (looking it up is the test)


def test_importing_the_package_loads_nothing_else() -> None:
    program = "import sys, orbit_lite; print(*(m for m in sys.modules if m.startswith(('orbit_lite.', 'betterproto'))))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split() == []
