"""The README's code runs: each ```python block, and each shell block opened as ```sh run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_FENCE = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[int, str, str]]:
    """(line, language, code) of what is to be run."""
    return [
        (text.count("\n", 0, match.start()) + 1, match[1], match[3])
        for match in _FENCE.finditer(text)
        if match[1] == "python" or (match[1] == "sh" and "run" in match[2].split())
    ]


BLOCKS = blocks(README.read_text(encoding="utf-8")) if README.exists() else []


@pytest.mark.parametrize(
    ("line", "language", "code"), BLOCKS, ids=lambda value: f"line {value}" if isinstance(value, int) else ""
)
def test_a_block_of_the_readme_runs(line: int, language: str, code: str, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if language == "python":
        program = tmp_path / "readme.py"
        program.write_text(code, encoding="utf-8")
        outcome = subprocess.run(
            [sys.executable, "-W", "error", program], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
    else:
        outcome = subprocess.run(["sh", "-euc", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, f"README.md line {line}:\n{outcome.stdout}{outcome.stderr}"


def test_blocks_are_found_by_language_and_mark() -> None:
    text = "a\n```python\nprint(1)\n```\n```sh\nrm\n```\n```sh run\ntrue\n```\n```text\nx\n```\n"
    assert blocks(text) == [(2, "python", "print(1)\n"), (8, "sh", "true\n")]
