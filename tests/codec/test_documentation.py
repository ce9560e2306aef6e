"""docs/codec.md tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from orbit_lite.codec import CodecLimits, DecodeError, EncodeError
from orbit_lite.codec.json import JsonError

PAGE = (Path(__file__).parents[2] / "docs" / "codec.md").read_text(encoding="utf-8")


def test_the_examples_run_one_after_the_other() -> None:
    examples = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    outcome = subprocess.run([sys.executable, "-W", "error", "-c", examples], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_the_limits_are_the_defaults() -> None:
    limits = CodecLimits()
    assert f"`max_size`, {limits.max_size} bytes" in PAGE
    assert f"`max_depth`, {limits.max_depth} messages" in PAGE


def test_the_codes_are_those_of_the_errors() -> None:
    for error in (DecodeError, EncodeError, JsonError):
        assert f"| `{error.__name__}` {error.orb_code} |" in PAGE
