"""A node and its client run without any compiled extension but the standard library's own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("loaded_extensions.py")


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True)


def test_a_node_and_its_client_load_no_compiled_extension() -> None:
    outcome = run(os.environ | {"MULTIDICT_NO_EXTENSIONS": "1"})
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.skipif(find_spec("multidict._multidict") is None, reason="multidict has no compiled form here")
def test_an_extension_is_noticed_and_named() -> None:
    outcome = run({name: value for name, value in os.environ.items() if name != "MULTIDICT_NO_EXTENSIONS"})
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "multidict._multidict" in outcome.stdout
