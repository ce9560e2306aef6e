"""Take one rule at a time out of Raft, and see after how many seeds the simulator notices.

Each table of mutants.toml is one rule: in `file`, `old` becomes `new`, in a copy of the package. A mutant that no seed
finds is a hole in the simulator, and the exit status is 1. `find.py NAME …` tries only these.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
TABLE = Path(__file__).with_name("mutants.toml")
MOST_SEEDS = 1_000


@dataclass(frozen=True, slots=True)
class Mutant:
    """name: which rule is gone. source: where it is written. nodes: 0 for 3 and 5 in turns."""

    name: str
    source: str
    file: str
    old: str
    new: str
    nodes: int = 0

    def text(self, root: Path) -> str:
        """The file without the rule. Raises LookupError when the rule is not there once."""
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(f"{self.name}: {text.count(self.old)} places in {self.file} look like its old text")
        return text.replace(self.old, self.new)


def mutants() -> list[Mutant]:
    return [Mutant(name, **fields) for name, fields in tomllib.loads(TABLE.read_text(encoding="utf-8")).items()]


def find(mutant: Mutant) -> tuple[int, float, str]:
    """Seeds until it was found (0: never), seconds, and which rule was seen broken."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "orbit_lite", copy / "orbit_lite", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / mutant.file).write_text(mutant.text(copy), encoding="utf-8")
        nodes = ["--nodes", str(mutant.nodes)] if mutant.nodes else []
        outcome = subprocess.run(
            [sys.executable, "-m", "orbit_lite", "sim", "--json", "--brief", "--seeds", str(MOST_SEEDS), *nodes],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(ROOT / "gen")])},
            stdout=subprocess.PIPE,
            text=True,
        )
    document = json.loads(outcome.stdout)
    violation = document["violation"]
    return (document["seeds"] if violation else 0), document["seconds"], (violation or {"rule": ""})["rule"]


def main(names: list[str]) -> int:
    print(f"{'rule taken out':<48} {'seeds':>6} {'s':>7}  seen as")
    missed = 0
    for mutant in mutants():
        if names and mutant.name not in names:
            continue
        seeds, seconds, rule = find(mutant)
        missed += not seeds
        print(f"{mutant.name:<48} {seeds or 'none':>6} {seconds:>7.1f}  {rule}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
