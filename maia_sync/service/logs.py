r"""How does the service tell what it does? Lines of a sentence each, with stable fields beside it.

Every line has these keys, in JSON and on a console alike:

    time      UTC, ISO 8601, to the millisecond
    level     debug, info, warning or error
    event     a stable name, to search and alert by
    message   one sentence for a person; its wording may change

and, where they make sense, `run_id`, `task_id`, `kind` (of a run or a walk), `status`, `job`, `source`,
`error_kind` (the error's class), `seconds`, `requests`, and the counts `tasks`, `held`, `failed`, `pages`,
`new`, `changed`, `unchanged`, `vanished`, `quarantined`, `bytes`. What is of a run bears its `run_id`,
however many run at once. The events:

    started, stopping, stopped, reloaded, reload_failed                 the service as a whole
    run_finished (info, one a run), run_started, walk_finished,         the work; the last five are debug
    page_stored, request_made, waiting (info from 5 s on)
    task_failed, lease_lost                                             one task; warnings
    tick_failed, job_missed, job_failed, database_lost, database_back,  what goes wrong around it
    discovery_failed, ping_failed, web_failed
    library                                                             a warning of a library, with `logger`

Error texts come partly from elsewhere: characters that a terminal would obey are shown as `\uXXXX`, and
long texts are cut. Of an unforeseen exception the place is told, not the text, which could hold a
payload or a secret (promise P9).
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from structlog.typing import FilteringBoundLogger

from maia_sync.errors import Bug, MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from maia_sync.clock import Clock
    from maia_sync.settings import LogSettings

Log: TypeAlias = FilteringBoundLogger
"""What lines are written to: `log.warning("job_missed", message="...", job="poll")`."""
Fields: TypeAlias = dict[str, Any]

LONGEST_TEXT = 2000
_FIRST = ("time", "level", "event", "message")
_FRAMES = 12


def set_up_logging(settings: LogSettings, *, stream: TextIO, clock: Clock) -> Log:
    """Return the log; from now on, what libraries warn of goes there too.

    To be called again after a reload: the log returned before keeps its own level and format.
    """
    render = structlog.processors.JSONRenderer() if settings.format == "json" else _render_for_console
    log: Log = structlog.wrap_logger(
        _Lines(stream),
        processors=[
            structlog.contextvars.merge_contextvars,
            _stamp_with(clock),
            _tell_place_of_exception,
            _make_harmless,
            _in_order,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
    ).bind()
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _LibraryWarnings):
            root.removeHandler(handler)
    root.addHandler(_LibraryWarnings(log))
    logging.captureWarnings(capture=True)
    return log


def harmless(text: str) -> str:
    r"""Return the text on one line, of bounded length, with what a terminal would obey as `\uXXXX`."""
    cut = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
    return cut if cut.isprintable() else "".join(_shown(each) for each in cut)


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # As JSON spells it: beyond the first plane, two surrogates.
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


class _Lines:
    """Writes lines from any thread; one that cannot be written is lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        writable = line.encode(encoding, "backslashreplace").decode(encoding)
        with self._lock, contextlib.suppress(OSError, ValueError):  # a closed stream is a ValueError
            self._stream.write(f"{writable}\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _LibraryWarnings(logging.Handler):
    """Hands what libraries tell the standard logging to our log, from warnings on."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as a line."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's mistake in its own log line is none of ours
            message = str(record.msg)
        tell = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        error = record.exc_info[1] if record.exc_info else None
        tell("library", message=message, logger=record.name, **({"exc_info": error} if error else {}))


def _stamp_with(clock: Clock) -> Callable[[Any, str, Fields], Fields]:
    def stamp(_log: Any, level: str, fields: Fields) -> Fields:
        now = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {**fields, "time": now, "level": level}

    return stamp


def _tell_place_of_exception(_log: Any, _level: str, fields: Fields) -> Fields:
    """Replace an exception (`exc_info`) by its class, our own sentence if it has one, and its place."""
    error = fields.pop("exc_info", None)
    if not isinstance(error, BaseException):
        return fields
    told = {"error_kind": type(error).__name__}
    if isinstance(error, MaiaSyncError):
        told["error"] = str(error)
    if isinstance(error, Bug) or not isinstance(error, MaiaSyncError):
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        told["place"] = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return {**told, **fields}


def _make_harmless(_log: Any, _level: str, fields: Fields) -> Fields:
    return {name: _harmless_value(value) for name, value in fields.items()}


def _harmless_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_harmless_value(each) for each in value]
    return harmless(str(value))


def _in_order(_log: Any, _level: str, fields: Fields) -> Fields:
    first = {name: fields.pop(name) for name in _FIRST if name in fields}
    return {**first, **{name: value for name, value in fields.items() if value is not None}}


def _render_for_console(_log: Any, _level: str, fields: Fields) -> str:
    """Return `time LEVEL event: message  name=value ...`."""
    time, level, event = (fields.pop(name) for name in ("time", "level", "event"))
    message = fields.pop("message", "")
    rest = " ".join(f"{name}={_value(value)}" for name, value in fields.items())
    return f"{time} {level.upper():7} {event}: {message}{'  ' if rest else ''}{rest}".rstrip()


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' ="') else text
