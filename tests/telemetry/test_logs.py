from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ConfigurationError
from orbit_lite.telemetry.logs import (
    FIELDS,
    JsonFormatter,
    RepeatFilter,
    TextFormatter,
    change_level,
    configure_logging,
    redact,
)

FORMATTERS: list[logging.Formatter] = [TextFormatter(), JsonFormatter()]


def record(message: str, *args: object, levelno: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("orbit_lite.test", levelno, __file__, 1, message, args, None)
    made.created = 1_767_225_600.0785
    return made


def with_fields(**fields: object) -> logging.LogRecord:
    made = record("m")
    vars(made).update(fields)
    return made


def failing(error: BaseException, cause: BaseException | None = None) -> logging.LogRecord:
    try:
        raise error from cause
    except BaseException:  # noqa: BLE001  (it was raised to be looked at)
        made = record("it failed", levelno=logging.ERROR)
        made.exc_info = sys.exc_info()
        return made


# ---------------------------------------------------------------- text


def test_a_text_line_has_time_level_logger_message_and_fields() -> None:
    made = record("joined by %s", "node-2")
    made.peer, made.duration_ms = "10.0.0.1:5", 1.5
    line = TextFormatter().format(made)
    assert line == "2026-01-01T00:00:00.078Z INFO    orbit_lite.test joined by node-2 peer=10.0.0.1:5 duration_ms=1.5"


def test_fields_come_in_a_fixed_order_and_further_ones_behind_them() -> None:
    fields: dict[str, object] = dict.fromkeys(reversed(FIELDS), 1)
    line = TextFormatter().format(with_fields(**fields, zeta=1, alpha=2))
    assert re.findall(r"(\w+)=", line) == [*FIELDS, "zeta", "alpha"]


def test_fields_that_are_none_are_left_out() -> None:
    assert TextFormatter().format(with_fields(peer=None, code="ORB-1100")).endswith("test m code=ORB-1100")


@pytest.mark.parametrize("value", ["two words", 'a "quote"', "a=b", ""])
def test_values_that_would_blur_the_line_are_quoted(value: str) -> None:
    assert TextFormatter().format(with_fields(peer=value)).endswith(f"peer={json.dumps(value)}")


def test_an_exception_is_told_on_the_same_line_from_the_inside_out() -> None:
    line = TextFormatter().format(failing(ValueError("two\nlines"), KeyError("k")))
    assert re.search(r"it failed \| ValueError: two\\nlines @ test_logs\.py:\d+ failing \| from KeyError: 'k'$", line)


def test_exceptions_that_are_their_own_cause_come_to_an_end() -> None:
    error = ValueError("x")
    error.__context__ = KeyError("y")
    error.__context__.__context__ = error
    assert TextFormatter().format(failing(error)).count("ValueError") == 1


# ---------------------------------------------------------------- json


def test_a_json_line_is_one_object_with_the_fields_that_have_a_value() -> None:
    made = record("hello %s", "Zoë")
    vars(made).update(node="(default:n)", term=None, duration_ms=2, ok=True)
    line = JsonFormatter().format(made)
    assert json.loads(line) == {
        "ts": "2026-01-01T00:00:00.078Z",
        "level": "info",
        "logger": "orbit_lite.test",
        "msg": "hello Zoë",
        "node": "(default:n)",
        "duration_ms": 2,
        "ok": True,
    }
    assert "Zoë" in line


def test_a_field_cannot_take_the_place_of_the_message() -> None:
    assert json.loads(JsonFormatter().format(with_fields(ts="x", level="high", traceback=1)))["level"] == "info"


def test_an_exception_is_a_field_with_its_traceback() -> None:
    event = json.loads(JsonFormatter().format(failing(ValueError("x"), KeyError("k"))))
    assert event["msg"] == "it failed"
    assert "ValueError: x" in event["traceback"]
    assert "KeyError: 'k'" in event["traceback"]
    assert "test_logs.py" in event["traceback"]


# ---------------------------------------------------------------- hostile text

HOSTILE = "\r\n\x1b\u202e\u2028\x00\x85\ud800"


@pytest.mark.parametrize("formatter", FORMATTERS)
@given(text=st.text(st.characters() | st.sampled_from(HOSTILE)))
def test_whatever_a_peer_writes_one_event_is_one_harmless_line(formatter: logging.Formatter, text: str) -> None:
    made = failing(ValueError(text))
    made.msg, made.args = "%s", (text,)
    made.peer = text
    made.name = text
    vars(made)[f"field {text}"] = text
    line = formatter.format(made)
    assert len(line.splitlines()) == 1
    assert not set(HOSTILE) & set(line)
    line.encode()


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_message_whose_arguments_do_not_fit_is_still_written(formatter: logging.Formatter) -> None:
    assert "%d apples (its arguments do not fit: TypeError)" in formatter.format(record("%d apples", "no"))


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_endless_text_is_cut(formatter: logging.Formatter) -> None:
    made = failing(ValueError("x" * 1_000_000))
    made.msg = "y" * 1_000_000
    assert len(formatter.format(made)) < 100_000


# ---------------------------------------------------------------- secrets

CANARY = "c4n4ry"


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize(
    "text",
    [
        f"authorization: Bearer {CANARY}",
        f"Authorization: {CANARY}",
        f"{{'authorization': 'Bearer {CANARY}', 'x': 1}}",
        f"[('cookie', '{CANARY} {CANARY}')]",
        f"set-cookie={CANARY}; path=/",
        f"trace-bin: b'{CANARY}'",
        f'"api-key": "{CANARY} {CANARY}"',
        f"x-api_key={CANARY}",
        f"session-token:{CANARY}",
        f"token={CANARY}",
        f"password = {CANARY}",
        f"ETCD_PASSWORD={CANARY}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----{CANARY}",
    ],
)
def test_values_behind_names_of_secrets_are_not_written(formatter: logging.Formatter, text: str) -> None:
    made = failing(ValueError(text))
    made.msg, made.args = "metadata %s", (text,)
    made.peer = text
    assert CANARY not in formatter.format(made)


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("name", ["authorization", "cookie", "grpc-trace-bin", "auth_token", "tls_key", "db_password"])
def test_fields_with_names_of_secrets_are_not_written(formatter: logging.Formatter, name: str) -> None:
    line = formatter.format(with_fields(**{name: CANARY}))
    assert CANARY not in line
    assert "[redacted]" in line


@pytest.mark.parametrize(
    "text",
    [
        "mailbox of Account:alice is full",
        "keyboard=1 tokens=5 binary=2",
        "key 'alice': expected an integer",
        "method=/pkg.Service/GetKey",
        "the keys: a, b",
    ],
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("text", ["a-" * 100_000, "authorization" * 50_000, "'" * 200_000, "password=" * 50_000])
def test_redaction_takes_no_longer_than_the_text(text: str) -> None:
    """A pattern that tries every split of hostile text would run for hours, and be ended by the test's time limit."""
    redact(text)


# ---------------------------------------------------------------- repeats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_of_events_that_repeat_only_the_first_pass(clock: Clock) -> None:
    repeats = RepeatFilter(burst=3, window=10.0, clock=clock)
    assert [repeats.filter(record("to %s failed", number)) for number in range(6)] == [True] * 3 + [False] * 3


def test_what_was_held_back_is_summed_up_once_when_its_window_is_over(clock: Clock) -> None:
    repeats = RepeatFilter(burst=1, window=10.0, clock=clock)
    for number in range(313):
        repeats.filter(record("to %s failed", number, levelno=logging.WARNING))
    assert repeats.due() == []
    clock.now = 10.0
    [summary] = repeats.due()
    assert summary.getMessage() == "… 312 more in 10 s: to %s failed"
    assert (summary.name, summary.levelno) == ("orbit_lite.test", logging.WARNING)
    assert repeats.due() == []


def test_a_new_window_lets_events_pass_again(clock: Clock) -> None:
    repeats = RepeatFilter(burst=1, window=10.0, clock=clock)
    assert repeats.filter(record("m"))
    assert not repeats.filter(record("m"))
    clock.now = 10.0
    assert repeats.filter(record("m"))


def test_a_window_without_repeats_is_not_summed_up(clock: Clock) -> None:
    repeats = RepeatFilter(burst=2, clock=clock)
    repeats.filter(record("m"))
    assert repeats.due(everything=True) == []


def test_other_templates_levels_and_loggers_are_other_events(clock: Clock) -> None:
    repeats = RepeatFilter(burst=1, clock=clock)
    elsewhere = record("m")
    elsewhere.name = "orbit_lite.other"
    assert all(map(repeats.filter, [record("m"), record("n"), record("m", levelno=logging.ERROR), elsewhere]))


def test_debug_events_are_never_held_back(clock: Clock) -> None:
    repeats = RepeatFilter(burst=1, clock=clock)
    assert all(repeats.filter(record("m", levelno=logging.DEBUG)) for _ in range(5))


def test_many_kinds_of_events_need_bounded_memory_and_lose_no_count(clock: Clock) -> None:
    repeats = RepeatFilter(burst=1, clock=clock)
    for _ in range(3):
        repeats.filter(record("the first kind"))
    for number in range(RepeatFilter.MAX_KINDS + 5):
        repeats.filter(record(f"kind {number}"))
    assert [summary.getMessage() for summary in repeats.due()] == ["… 2 more in 10 s: the first kind"]


# ---------------------------------------------------------------- programs


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.getLogger("orbit_lite").setLevel(logging.NOTSET)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("logging_restored")
def test_a_terminal_gets_text_and_anything_else_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure_logging(stream=terminal)
    logging.getLogger("orbit_lite.test").info("hello")
    configure_logging(stream=pipe)
    logging.getLogger("orbit_lite.test").info("hello")
    assert terminal.getvalue().endswith(" INFO    orbit_lite.test hello\n")
    assert json.loads(pipe.getvalue())["msg"] == "hello"


@pytest.mark.usefixtures("logging_restored")
def test_a_format_can_be_asked_for_whatever_the_stream_is() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure_logging(format="json", stream=terminal)
    logging.getLogger("orbit_lite.test").info("hello")
    configure_logging(format="text", stream=pipe)
    logging.getLogger("orbit_lite.test").info("hello")
    assert json.loads(terminal.getvalue())["msg"] == "hello"
    assert pipe.getvalue().endswith("hello\n")


@pytest.mark.usefixtures("logging_restored")
def test_the_level_counts_for_the_program_and_can_be_changed() -> None:
    stream = io.StringIO()
    log = logging.getLogger("a.users.actors")
    configure_logging("warning", "text", stream)
    log.info("unheard")
    configure_logging("debug", "text", stream)
    log.debug("heard once")
    assert stream.getvalue().count("heard") == 1


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("name", ["orbit_lite.test", "a.users.actors"])
def test_a_changed_level_counts_for_the_same_loggers_as_the_first(name: str) -> None:
    stream, log = io.StringIO(), logging.getLogger(name)
    configure_logging("info", "text", stream)
    change_level("debug")
    log.debug("heard")
    change_level("warning")
    log.info("unheard")
    configure_logging("debug", "text", stream)
    log.debug("heard")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["heard", "heard"]
    logging.getLogger("h2").info("header fields")
    assert "header" not in stream.getvalue()


@pytest.mark.usefixtures("logging_restored")
def test_in_a_program_with_logs_of_its_own_only_the_librarys_level_changes() -> None:
    before = logging.getLogger().level
    change_level("debug")
    assert logging.getLogger("orbit_lite.test").isEnabledFor(logging.DEBUG)
    assert logging.getLogger().level == before
    with pytest.raises(ConfigurationError, match="level='loud'"):
        change_level("loud")


@pytest.mark.usefixtures("logging_restored")
def test_libraries_that_log_header_fields_are_never_heard_at_debug() -> None:
    stream = io.StringIO()
    configure_logging("debug", "text", stream)
    logging.getLogger("hpack.hpack").debug("Adding authorization to the header table")
    logging.getLogger("h2").info("x")
    assert not stream.getvalue()


@pytest.mark.usefixtures("logging_restored")
def test_repeats_are_summed_up_when_the_next_event_or_the_end_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    stream = io.StringIO()
    handler = configure_logging("info", "text", stream)
    log = logging.getLogger("orbit_lite.test")
    repeats: RepeatFilter = handler._repeats  # type: ignore[attr-defined]
    repeats._clock = clock
    for _ in range(15):
        log.info("again")
    assert stream.getvalue().count("again") == 10
    clock.now = 10.0
    log.info("something else")
    lines = stream.getvalue().splitlines()
    assert lines[10].endswith("… 5 more in 10 s: again")
    assert lines[11].endswith("something else")
    for _ in range(12):
        log.info("again")
    handler.close()
    assert stream.getvalue().splitlines()[-1].endswith("… 2 more in 10 s: again")


@pytest.mark.usefixtures("logging_restored")
def test_further_filters_on_the_handler_are_heeded() -> None:
    stream = io.StringIO()
    configure_logging("info", "text", stream).addFilter(lambda _: False)
    logging.getLogger("orbit_lite.test").info("hello")
    assert not stream.getvalue()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"level": "loud"}, "level='loud': must be one of debug, info, warning, error, critical"),
        ({"format": "xml"}, "format='xml': must be one of auto, text, json"),
    ],
)
def test_other_words_are_refused(options: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(problem)}$"):
        configure_logging(**options)  # type: ignore[arg-type]


def test_a_library_in_use_writes_nothing_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("orbit_lite")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
