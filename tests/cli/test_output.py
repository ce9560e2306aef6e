"""Tables and JSON on stdout."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.output import console, json_text, print_json, print_pairs, print_table


class Terminal(io.StringIO):
    """A stream that a person sees."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_table_in_a_pipe_is_as_wide_as_its_content_and_has_no_blanks_at_its_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["name", ">calls"], [("x" * 300, 7), ("日本", 1234)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name" + " " * 298 + "calls", "x" * 300 + "      7", "日本" + " " * 299 + "1234"]


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name"], [], empty="no names")
    assert capsys.readouterr().out == "no names\n"


def test_what_a_peer_wrote_cannot_move_the_cursor_nor_style_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name"], [("\x1b[2J\r\n[bold]:smile:",)])
    assert capsys.readouterr().out.splitlines()[1] == "\\x1b[2J\\r\\n[bold]:smile:"


def test_pairs_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("a", 1), ("long", "x\ny")])
    assert capsys.readouterr().out == "a     1\nlong  x\\ny\n"


@pytest.mark.parametrize(("no_color", "is_styled"), [("", True), ("1", False)])
def test_only_a_terminal_without_no_color_gets_styles(
    monkeypatch: pytest.MonkeyPatch, no_color: str, is_styled: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    print_table(["name"], [("x",)])
    assert ("\x1b[" in terminal.getvalue()) is is_styled


def test_a_pipe_gets_no_styles(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("x", style="bold red")
    assert capsys.readouterr().out == "x\n"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_is_read_back_whatever_it_holds(value: object) -> None:
    assert json.loads(json_text(value)) == json.loads(json_text(value, indent=None)) == value


def test_json_on_one_line_is_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": ["x\ny"]}, indent=None)
    assert capsys.readouterr().out == '{"a": ["x\\ny"]}\n'
