"""The verb `config`: what a node would be configured with, and where each value comes from."""

from __future__ import annotations

import json
from typing import Any

import click

from orbit_lite.cli.options import json_option
from orbit_lite.cli.output import print_json, print_table
from orbit_lite.cli.settings import load, node_options

__all__ = ["config"]


@click.command(short_help="Print the effective settings and their origins.")
@node_options
@click.option("--changed", is_flag=True, help="Only what is not the default.")
@json_option
def config(*, changed: bool, as_json: bool, **options: Any) -> None:
    """Print every setting of a node, with its value and where that comes from.

    Takes the options of `serve` and reads the same file and environment; starts nothing.
    """
    loaded = load(options)
    rows = [row for row in loaded.rows() if not changed or row[2] != "default"]
    if as_json:
        file = None if loaded.path is None else str(loaded.path)
        settings = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        print_json({"file": file, "settings": settings})
        return
    print(f"file: {loaded.path or 'none'}")
    shown = [
        (key, "-" if value is None else json.dumps(value, ensure_ascii=False), origin) for key, value, origin in rows
    ]
    print_table(["setting", "value", "origin"], shown, empty="every setting has its default")
