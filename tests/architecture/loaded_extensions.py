"""Run a node and a client of it in this process, then name every compiled extension loaded from outside the standard
library. Exit status 1 if there is one.

A program of its own, so that the test runner's modules are not mistaken for the node's: `nox -s pure` and
test_pure_python.py start it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import orbit_lite

STANDARD_LIBRARY = Path(os.__file__).resolve().parent


def main() -> int:
    import_everything()
    asyncio.run(call_an_actor())
    offenders = sorted(extensions())
    for name, path in offenders:
        print(f"compiled extension outside the standard library: {name} ({path})")
    print(f"{len(sys.modules)} modules loaded, {len(offenders)} of them compiled extensions of others")
    return 1 if offenders else 0


def import_everything() -> None:
    for module in pkgutil.walk_packages(orbit_lite.__path__, "orbit_lite."):
        # The strategies are for tests, and need Hypothesis, which has compiled parts of its own.
        if not module.name.endswith(".__main__") and not module.name.startswith("orbit_lite.testing"):
            importlib.import_module(module.name)


async def call_an_actor() -> None:
    from orbit_lite import OrbitClient, OrbitNode, actor

    @actor("Echo")
    class Echo:
        async def echo(self, text: str) -> str:
            return text

    node = OrbitNode(bind="127.0.0.1", port=0)
    node.register(Echo)
    async with node, OrbitClient((node.url,)) as client:
        answer = await client.actor("Echo", "one").invoke("echo", "zwölf")
    if answer != "zwölf":
        raise AssertionError(f"the actor answered {answer!r}")


def extensions() -> Iterator[tuple[str, Path]]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or not file.endswith(tuple(EXTENSION_SUFFIXES)):
            continue
        path = Path(file).resolve()
        if not path.is_relative_to(STANDARD_LIBRARY) or "site-packages" in path.parts:
            yield name, path


if __name__ == "__main__":
    sys.exit(main())
