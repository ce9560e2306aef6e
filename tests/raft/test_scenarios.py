"""The stories in `scenarios/`: what the paper, the thesis and other libraries' bugs say about the rules of Raft.

Each file tells what its cluster is told and what comes out; `scenario_language` explains the text.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))

#: Set to 1: the files are written anew with what happens now, to be reviewed as a diff of the repository.
REWRITE = "ORBIT_REWRITE_SCENARIOS"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_goes_as_it_is_told(path: Path, play: Callable[[str], str]) -> None:
    expected = path.read_text(encoding="utf-8")
    actual = play(expected)
    if os.environ.get(REWRITE) == "1":
        path.write_text(actual, encoding="utf-8")
    elif actual != expected:
        diff = difflib.unified_diff(expected.splitlines(), actual.splitlines(), path.name, "what happens", lineterm="")
        pytest.fail("\n".join(diff), pytrace=False)


def test_a_command_that_goes_another_way_is_seen(play: Callable[[str], str]) -> None:
    told = "Prose.\n> nodes a\n> elect a\n  a is follower\n"
    assert play(told) != told
    assert play(play(told)) == play(told)
