"""An ORB code names one kind of error, in logs, alerts and documentation."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import orbit_lite
from orbit_lite.errors import OrbitError


@pytest.fixture(scope="module")
def kinds() -> list[type[OrbitError]]:
    """Every class of error in the package."""
    for module in pkgutil.walk_packages(orbit_lite.__path__, "orbit_lite."):
        if not module.name.startswith("orbit_lite.testing.") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [kind for kind in below(OrbitError) if kind.__module__.startswith("orbit_lite.")]


def below(kind: type[OrbitError]) -> Iterator[type[OrbitError]]:
    """The class and all that derive from it, each once for every way that leads to it."""
    yield kind
    for derived in kind.__subclasses__():
        yield from below(derived)


def test_no_two_kinds_of_error_claim_the_same_code(kinds: list[type[OrbitError]]) -> None:
    owners: dict[str, type[OrbitError]] = {}
    for kind in kinds:
        if "orb_code" in vars(kind):  # else it goes by the code of the kind that it refines
            owner = owners.setdefault(kind.orb_code, kind)
            assert owner is kind, f"{kind.orb_code} is {owner.__qualname__} and {kind.__qualname__}"
    assert len(owners) > 30


def test_every_code_has_the_form_that_alerts_match(kinds: list[type[OrbitError]]) -> None:
    assert [kind.__name__ for kind in kinds if not re.fullmatch(r"ORB-\d{4}", kind.orb_code)] == []
