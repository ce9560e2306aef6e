"""How far the demo is."""

from __future__ import annotations

import io

import pytest

from orbit_lite.cli.demo.progress import Progress


class Terminal(io.StringIO):
    """A stream that a person sees."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_plain_lines_the_last_one_for_sure(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("begins")
    with progress.count("transfers", 3000) as count:
        for done in range(3001):
            count(done)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("begins\n")
    assert told.err.endswith("transfers: 3,000 of 3,000\n")
    assert len(told.err.splitlines()) < 10


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress().count("transfers", 10) as count:
        count(10)
    assert "10/10" in terminal.getvalue()


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.say("begins")
    with progress.count("transfers", 1) as count:
        count(1)
    assert capsys.readouterr() == ("", "")
