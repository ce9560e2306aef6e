"""How long it takes from the interpreter's start to the first answered call, over bare asyncio.

From compiled bytecode, as installed packages have it: an environment that forbids to write it (PYTHONDONTWRITEBYTECODE)
would have every process compile the checkout's sources, and nobody else's.

python -m benchmarks.startup orbit-lite     imports, starts a server, makes a call, prints nothing
"""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.processes import ROOT, Contender, environment
from benchmarks.run import Run, Step

IMPORT = "import and first call"
BARE = "asyncio"
KINDS = ("orbit-lite", "grpclib", "grpc.aio")
SIDES = {
    "orbit-lite": ("benchmarks.orbit_side", "OrbitServer", "OrbitClient"),
    "grpclib": ("benchmarks.grpclib_side", "GrpclibServer", "GrpclibClient"),
    "grpc.aio": ("benchmarks.grpcio_side", "AioServer", "AioClient"),
}


def startup(run: Run) -> Iterator[Step]:
    for _, contender in run.interleaved(run.of_kind(*KINDS)):
        run.results.note("startup", contender.name, "a whole process less one that only runs asyncio; from bytecode")
        yield f"startup: {contender.name}", partial(measure, run, contender)


def measure(run: Run, contender: Contender) -> None:
    with tempfile.TemporaryDirectory() as bytecode:
        for kind in (BARE, contender.kind):
            elapsed(contender.python, kind, bytecode)  # compiles
        bare = elapsed(contender.python, BARE, bytecode)
        whole = elapsed(contender.python, contender.kind, bytecode)
    run.results.add("startup", IMPORT, contender.name, {"ms": (whole - bare) * 1e3})


def elapsed(python: str, kind: str, bytecode: str) -> float:
    """Seconds from start to end of a process. bytecode: where it is kept."""
    variables = environment({"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""})
    before = time.perf_counter()
    subprocess.run([python, "-m", "benchmarks.startup", kind], check=True, env=variables, cwd=ROOT)
    return time.perf_counter() - before


async def first_call(kind: str) -> None:
    if kind == BARE:
        return
    module, server_name, client_name = SIDES[kind]
    found = importlib.import_module(module)
    server, client = getattr(found, server_name)(), getattr(found, client_name)()
    await client.connect(await server.start(None), 1, None)
    await client.once()
    await client.close()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(first_call(sys.argv[1]))
