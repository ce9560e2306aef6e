"""Logs: one line per event, for people (`text`) or machines (`json`).

The library logs through `logging.getLogger("orbit_lite.<package>")` and leaves handlers to its user; a program calls
`configure_logging` once. What belongs to an event beside its message travels in `extra`:

    log.warning("announcement failed: %s", error, extra={"peer": …, "code": error.orb_code, "duration_ms": 12.5})

Whatever a peer wrote is made harmless here at the latest: control and bidirectional characters become escapes, so one
event stays one line, and values behind names such as `authorization` or `api-key` are not written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TextIO

from orbit_lite.errors import ConfigurationError, quote

__all__ = ["FIELDS", "JsonFormatter", "RepeatFilter", "TextFormatter", "change_level", "configure_logging", "redact"]

#: Fields with a fixed meaning, in the order in which they are written; others follow in the order given.
FIELDS = ("code", "node", "term", "peer", "method", "tx", "trace_id", "span_id", "duration_ms")

#: Longest message or traceback that is written, in characters.
_LONGEST = 16_384
_REDACTED = "[redacted]"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


# ---------------------------------------------------------------- secrets

_NAME = r"(?:proxy-)?authorization|(?:set-)?cookie|[\w.-]{0,60}?(?:-bin|[-_]key|token|password|passwd|secret)"
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SECRET = re.compile(
    rf"(?<![\w.-])(?P<name>{_NAME})(?P<between>[\"']?\s*[:=]\s*|[\"']\s*,\s*)"
    r"(?:b?\"[^\"]*\"|b?'[^']*'|(?:bearer|basic|digest)\s+[^\s,;)}\]]+|[^\s,;)}\]]+)",
    re.IGNORECASE,
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def redact(text: str) -> str:
    """Text without values behind names of secrets: authorization, cookie, …-bin, …-token, …-key, passwords; and without
    private keys.

    A last line of defence: secrets do not belong into messages at all.
    """
    return _SECRET.sub(rf"\g<name>\g<between>{_REDACTED}", _PEM.sub(_REDACTED, text))


# ---------------------------------------------------------------- parts of a line


def _moment(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001  (an event whose arguments do not fit is still an event)
        text = f"{record.msg} (its arguments do not fit: {type(error).__name__})"
    return quote(redact(text), _LONGEST)


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, str | int | float | bool]]:
    """What `extra` brought, in the order of FIELDS; fields that are None are left out."""
    values = vars(record)
    others = (name for name in values if name not in _STANDARD and name not in FIELDS)
    for name in (*FIELDS, *others):
        value = values.get(name)
        if value is None:
            continue
        if _SECRET_NAME.fullmatch(name):
            yield quote(name), _REDACTED
        elif isinstance(value, bool | int | float):
            yield quote(name), value
        else:
            yield quote(name), quote(redact(str(value)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from, as tracebacks show it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO    orbit_lite.node message peer=… duration_ms=…`.

    An exception follows as its text and the places that it passed, innermost first, on the same line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        parts = [_moment(record), f"{record.levelname:<7}", quote(record.name), _message(record)]
        parts += [f"{name}={_bare(value)}" for name, value in _fields(record)]
        if record.exc_info and record.exc_info[1] is not None:
            parts.append("| " + " | from ".join(map(_compact, _chain(record.exc_info[1]))))
        return " ".join(parts)


def _bare(value: str | float) -> str:
    if isinstance(value, str) and (not value or any(char in value for char in ' "=')):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _compact(error: BaseException) -> str:
    text = quote(redact(f"{type(error).__name__}: {error}".removesuffix(": ")), _LONGEST)
    frames = traceback.extract_tb(error.__traceback__)[::-1]
    places = " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[:20])
    return f"{text} @ {quote(places, _LONGEST)}" if places else text


class JsonFormatter(logging.Formatter):
    """One JSON object: ts, level, logger, msg, the fields, and traceback where there is an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        event: dict[str, object] = {
            "ts": _moment(record),
            "level": record.levelname.lower(),
            "logger": quote(record.name),
            "msg": _message(record),
        }
        for name, value in _fields(record):
            event.setdefault(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            lines = redact("".join(traceback.format_exception(record.exc_info[1])))[-_LONGEST:].splitlines()
            event["traceback"] = "\n".join(quote(line, _LONGEST) for line in lines)
        return json.dumps(event, ensure_ascii=False)


# ---------------------------------------------------------------- repeats


@dataclass(slots=True)
class _Run:
    """Events of one kind within one window of time."""

    record: logging.LogRecord
    began: float
    passed: int = 0
    held_back: int = 0


class RepeatFilter(logging.Filter):
    """Holds back events that repeat: of one logger, level and message template, `burst` pass within `window` seconds.

    What was held back is summed up: `due` gives a record `… 312 more in 10 s: template` for every window that is over.
    Debug events always pass. clock: seconds, monotonic.
    """

    #: Kinds of events that are counted at a time.
    MAX_KINDS = 1000

    def __init__(self, *, burst: int = 10, window: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._burst = burst
        self._window = window
        self._clock = clock
        self._runs: OrderedDict[tuple[str, int, str], _Run] = OrderedDict()
        self._over: list[_Run] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if record.levelno <= logging.DEBUG:
            return True
        now = self._clock()
        self._retire(now)
        kind = (record.name, record.levelno, str(record.msg))
        run = self._runs.get(kind)
        if run is None:
            if len(self._runs) >= self.MAX_KINDS:
                self._over.append(self._runs.popitem(last=False)[1])
            run = self._runs[kind] = _Run(record, now)
        if run.passed < self._burst:
            run.passed += 1
            return True
        run.held_back += 1
        return False

    def due(self, *, everything: bool = False) -> list[logging.LogRecord]:
        """Summaries of windows that are over; of all windows on request. Each is given once."""
        self._retire(self._clock())
        if everything:
            self._over += self._runs.values()
            self._runs.clear()
        over, self._over = self._over, []
        return [_summary(run, self._window) for run in over if run.held_back]

    def _retire(self, now: float) -> None:
        while self._runs:
            run = next(iter(self._runs.values()))  # the oldest: runs are begun in the order of time
            if now - run.began < self._window:
                return
            self._over.append(self._runs.popitem(last=False)[1])


def _summary(run: _Run, window: float) -> logging.LogRecord:
    first = run.record
    message = f"… {run.held_back} more in {window:g} s: {first.msg}"
    return logging.LogRecord(first.name, first.levelno, first.pathname, first.lineno, message, (), None)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes what the filter lets through, and its summaries when the next event or the end comes."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter, repeats: RepeatFilter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._repeats = repeats

    def handle(self, record: logging.LogRecord) -> bool:
        """Whether the record was written."""
        if not self.filter(record):
            return False
        self.acquire()
        try:
            passes = self._repeats.filter(record)
            self._sum_up(everything=False)
            if passes:
                self.emit(record)
        finally:
            self.release()
        return passes

    def close(self) -> None:
        """Write the last summaries; the stream stays open."""
        self.acquire()
        try:
            self._sum_up(everything=True)
        finally:
            self.release()
        super().close()

    def _sum_up(self, *, everything: bool) -> None:
        for summary in self._repeats.due(everything=everything):
            self.emit(summary)


# ---------------------------------------------------------------- programs

#: What these log at lower levels are header fields and other things that belong to calls.
_TALKATIVE = ("grpclib", "h2", "hpack", "asyncio")

_handler: _Handler | None = None


def configure_logging(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> logging.Handler:
    """Let a program write its logs to `stream`, stderr unless said otherwise. Not for libraries.

    level: debug, info, warning (warn), error or critical. format: text, json, or auto: text on a terminal, else json.
    Calling it again replaces what it did before. Raises ConfigurationError for any other word.
    """
    global _handler  # noqa: PLW0603  (the process has one log, as it has one stderr)
    number = _level(level)
    if format not in ("auto", "text", "json"):
        raise ConfigurationError(f"format={quote(format)!r}: must be one of auto, text, json")
    target = sys.stderr if stream is None else stream
    is_text = format == "text" or (format == "auto" and target.isatty())
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
        _handler.close()
    _handler = _Handler(target, TextFormatter() if is_text else JsonFormatter(), RepeatFilter())
    root.addHandler(_handler)
    _set_level_of_all(number)
    return _handler


def change_level(level: str) -> None:
    """Change how much is logged: by the whole program after `configure_logging`, else by this library only.

    Raises ConfigurationError for a level that `configure_logging` does not take.
    """
    number = _level(level)
    if _handler in logging.getLogger().handlers:
        _set_level_of_all(number)
    else:
        logging.getLogger("orbit_lite").setLevel(number)


def _set_level_of_all(number: int) -> None:
    logging.getLogger().setLevel(number)
    logging.getLogger("orbit_lite").setLevel(logging.NOTSET)  # as the program, whatever was said before
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def _level(name: str) -> int:
    number = logging.getLevelNamesMapping().get(name.upper())
    if number is None:
        raise ConfigurationError(f"level={quote(name)!r}: must be one of debug, info, warning, error, critical")
    return number
