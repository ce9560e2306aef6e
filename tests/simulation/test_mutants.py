"""The rules that `nox -s mutation` takes out are where its table says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads((Path(__file__).parent / "mutants" / "mutants.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MUTANTS)
def test_each_rule_is_found_once(name: str) -> None:
    mutant = MUTANTS[name]
    text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
    assert text.count(mutant["old"]) == 1
    changed = text.replace(mutant["old"], mutant["new"])
    compile(changed, mutant["file"], "exec")
