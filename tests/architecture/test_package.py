"""The wheel holds the two packages and nothing else, whether built from the checkout or from the sdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def build(kind: str, source: Path, target: Path) -> Path:
    """What the build backend makes of `source`; kind: "wheel" or "sdist"."""
    program = f"import hatchling.build, sys; print(hatchling.build.build_{kind}(sys.argv[1]))"
    outcome = subprocess.run([sys.executable, "-c", program, target], cwd=source, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    return target / outcome.stdout.splitlines()[-1]


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_ships_both_packages_and_nothing_else_at_top_level(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    metadata = {name for name in tops if name.endswith(".dist-info")}
    assert tops - metadata == {"orbit_lite", "orbit_proto"}
    assert len(metadata) == 1


def test_the_wheel_ships_types_descriptors_and_the_licence(wheel: Path) -> None:
    names = contents(wheel)
    assert {"orbit_lite/py.typed", "orbit_proto/py.typed", "orbit_proto/descriptors.binpb"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_ships_every_tracked_file_and_no_leftovers(wheel: Path) -> None:
    here = {
        path.relative_to(base).as_posix()
        for base, package in ((ROOT, "orbit_lite"), (ROOT / "gen", "orbit_proto"))
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in contents(wheel) if ".dist-info/" not in name} == here


def test_the_wheel_is_for_every_interpreter(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", ROOT, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert contents(build("wheel", unpacked, tmp_path)) == contents(wheel)


def test_the_generate_extra_pins_what_scripts_generate_pins() -> None:
    listed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate", "--requirements"], capture_output=True, text=True, check=True
    )
    pins = {(pin.name, pin.specifier) for pin in map(Requirement, listed.stdout.split())}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {(pin.name, pin.specifier) for pin in map(Requirement, project["optional-dependencies"]["generate"])}
    assert extra <= pins
