#!/usr/bin/env python3
"""Get a PyPy 3.11 that runs on this machine and print the path of its interpreter.

A PyPy 3.11 of PATH is taken as it is. Otherwise, on Debian, the packages of a release that has one are unpacked into a
folder, together with every library they need down to libc, and a launcher starts the interpreter through its own
dynamic loader: the machine's libraries may be of any age, nothing is installed, and apt's state stays as it was
(private source list, lists, cache and package status; the mirror and its keys are those of the machine). The launcher
passes its own path as argv[0], so sys.executable, virtual environments and child processes work as usual.

Exit status: 0 done; 3 not to be had here, with the reason in one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "trixie"  # the first Debian release whose PyPy speaks Python 3.11
PACKAGES = ("pypy3", "pypy3-venv")
KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
UNAVAILABLE = 3
DOWNLOAD_TIMEOUT = 300.0  # seconds
FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "pypy"

# What an interpreter must be able to do: child processes by sys.executable, TLS, SQLite.
PROBE = """
import sqlite3, ssl, subprocess, sys
assert sys.implementation.name == "pypy" and sys.version_info[:2] == (3, 11)
subprocess.run([sys.executable, "-c", ""], check=True)
"""


class Unavailable(Exception):
    """PyPy cannot be had here; the text says why."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the path of a PyPy 3.11, unpacking one if there is none.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to unpack it (default: %(default)s)")
    folder: Path = parser.parse_args().folder.resolve()
    try:
        print(find() or unpacked(folder))
    except Unavailable as reason:
        print(f"no PyPy 3.11: {reason}", file=sys.stderr)
        return UNAVAILABLE
    return 0


def find() -> str | None:
    """The PyPy 3.11 of PATH."""
    candidates = (shutil.which(name) for name in ("pypy3.11", "pypy3", "pypy"))
    return next((path for path in candidates if path and works(path)), None)


def works(interpreter: str | Path) -> bool:
    try:
        run = subprocess.run([interpreter, "-c", PROBE], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def unpacked(folder: Path) -> Path:
    """The interpreter under `folder`, put there first unless it is there and runs."""
    launcher = folder / "bin" / "pypy3.11"
    if works(launcher):
        return launcher
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"none on PATH, and without {tool} none can be unpacked")
    source = source_line()
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("apt/lists/partial", "apt/archives/partial", "root", "bin"):
        (folder / part).mkdir(parents=True)

    progress(f"downloading PyPy from Debian {SUITE}")
    download(folder / "apt", source)
    progress(f"unpacking PyPy into {folder}")
    for package in sorted((folder / "apt" / "archives").glob("*.deb")):
        command("dpkg-deb", "--extract", str(package), str(folder / "root"))
    shutil.rmtree(folder / "apt")
    write_launcher(launcher, folder / "root" / "usr")
    if not works(launcher):
        raise Unavailable("the one unpacked from Debian does not run on this machine")
    return launcher


def source_line() -> str:
    """One line for apt: the suite we need, at the mirror this machine uses for its own."""
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        raise Unavailable("none on PATH, and this machine is not Debian")
    own = {release.get("VERSION_CODENAME"), "oldstable", "stable", "testing", "unstable", SUITE}
    # The indexes that an update would read, known even where none has been read yet.
    for mirror, suite in re.findall(
        r"'(\S+)/dists/([^/\s]+)/main/binary-", command("apt-get", "update", "--print-uris")
    ):
        if suite in own:
            keyrings = [path for name in KEYRINGS if (path := Path("/usr/share/keyrings", name)).exists()]
            options = f"[signed-by={keyrings[0]}] " if keyrings else ""
            return f"deb {options}{mirror} {SUITE} main\n"
    raise Unavailable("none on PATH, and apt knows no Debian mirror")


def download(state: Path, source: str) -> None:
    """Fetch PACKAGES and all they depend on into `state`/archives, as for a machine where nothing is installed."""
    (state / "sources.list").write_text(source)
    (state / "status").touch()
    options = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",  # whoever runs this owns the folder; the user _apt may not reach it
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    command(*apt, "update")
    command(*apt, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)


def write_launcher(launcher: Path, usr: Path) -> None:
    loaders = sorted(usr.glob("lib/*/ld-linux*.so.*"))
    interpreter = usr / "bin" / "pypy3.11"
    if not loaders or not interpreter.exists():
        raise Unavailable(f"Debian's packages hold no {'interpreter' if loaders else 'loader'} where it is looked for")
    # ensurepip looks for pip where the packages would have been installed.
    for data in usr.glob("lib/pypy3.11/_sysconfigdata*.py"):
        text = data.read_text()
        data.write_text(text.replace("'/usr/share/python-wheels/'", repr(str(usr / "share" / "python-wheels"))))
    loader, library, program = (shlex.quote(str(path)) for path in (loaders[0], loaders[0].parent, interpreter))
    launcher.write_text(f'#!/bin/sh\nexec {loader} --argv0 "$0" --library-path {library} {program} "$@"\n')
    launcher.chmod(0o755)


def command(*arguments: str) -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        run = subprocess.run(
            arguments, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{arguments[0]} took longer than {DOWNLOAD_TIMEOUT:.0f} s") from None
    if run.returncode:
        complaint = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
        raise Unavailable(f"{arguments[0]} failed: {complaint}")
    return run.stdout


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
