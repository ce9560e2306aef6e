"""JSON text whose errors can be shown on every interpreter."""

from __future__ import annotations

import json
import sys
from typing import Any

__all__ = ["parse_json"]


def parse_json(text: str | bytes, **options: Any) -> Any:
    """`json.loads`, with its options. Raises ValueError and RecursionError as that does.

    PyPy's parser names the character at which it gives up by a byte of it, in a string that is no text any more: to
    format or log such an error fails, so it neither leaves this function nor stays as a cause.
    """
    try:
        return json.loads(text, **options)
    except json.JSONDecodeError as error:
        if sys.implementation.name != "pypy":
            raise
        problem = json.JSONDecodeError("Unexpected character", error.doc, error.pos)
    raise problem
