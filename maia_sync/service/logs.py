r"""How does the service tell what it does? Lines of a sentence each, with stable fields beside it.

Every line has these keys, in JSON and on a console alike:

    time      UTC, ISO 8601, to the millisecond
    level     debug, info, warning or error
    event     a stable name, to search and alert by
    message   one sentence for a person; its wording may change

and, where they make sense, `run_id`, `task_id`, `kind` (of a run or a walk), `status`, `job`, `source`,
`error_kind` (the error's class), `seconds`, `requests`, and the counts `tasks`, `held`, `failed`, `pages`,
`new`, `changed`, `unchanged`, `vanished`, `quarantined`, `payloads`, `bytes`. What is of a run bears its
`run_id`, however many run at once. The events:

    started, no_tasks, stopping, reloaded, reload_failed                the service as a whole
    run_finished (info, one a run), run_started, walk_finished,         the work; the last five are debug
    page_stored, request_made, waiting (info from 5 s on)
    task_failed, lease_lost                                             one task; warnings
    tick_failed, job_missed, job_failed, database_lost, database_back,  what goes wrong around it
    discovery_failed, ping_failed, runs_lost
    tasks_discovered                                                    what a source has brought
    report_written, report_incomplete (a panel has no answer)           the report of the schedule
    archived, archive_failed, anchor_failed, archive_incomplete,        the archive of the schedule
    pruned, prune_failed                                                what came of age in it
    erasure_unfinished                                                  free pages may hold what was erased
    library                                                             a warning of a library, with `logger`

Error texts come partly from elsewhere: characters that a terminal would obey are shown as `\uXXXX`, and
long texts are cut. Of an unforeseen exception the place is told, not the text, which could hold a
payload or a secret (promise P9).
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from maia_sync.errors import Bug, MaiaSyncError
from maia_sync.model import PageApplied, RequestMade, RunReport, RunStarted, Waited, WalkReport

if TYPE_CHECKING:
    from typing import TextIO

    from maia_sync.clock import Clock
    from maia_sync.model import Observation
    from maia_sync.settings import LogSettings

Log: TypeAlias = FilteringBoundLogger
"""What lines are written to: `log.warning("job_missed", message="...", job="poll")`."""

LONGEST_TEXT = 2000
_FIRST = ("time", "level", "event", "message")
_FRAMES = 12
_LONG_WAIT = 5.0
_DATABASE = "Database"
"""How the causes of waits for the database begin."""


def set_up_logging(settings: LogSettings, *, stream: TextIO, clock: Clock) -> Log:
    """Return the log; from now on, what libraries warn of goes there too.

    To be called again after a reload: the log returned before keeps its own level and format.
    """
    in_json = settings.format == "json"
    render: Processor = structlog.processors.JSONRenderer() if in_json else _render_for_console
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


class RunLog:
    """An observer that writes what runs do: one line for each run and each failed task, more at debug.

    Once a run has begun, whatever its task and those begun by it write bears its `run_id`, until it ends.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._database_is_away = False

    def __call__(self, observation: Observation) -> None:
        """Write what one record says."""
        match observation:
            case RunReport():
                self._note_run(observation)
            case WalkReport():
                self._note_walk(observation)
            case PageApplied():
                self._note_page(observation)
            case RequestMade():
                self._note_request(observation)
            case Waited():
                self._note_wait(observation)
            case RunStarted():
                structlog.contextvars.bind_contextvars(run_id=observation.run_id)
                message = f"Run {observation.run_id} ({observation.kind}) begins."
                self._log.debug("run_started", message=message, kind=observation.kind)

    def _note_run(self, report: RunReport) -> None:
        self._note_database()
        structlog.contextvars.unbind_contextvars("run_id")
        self._log.info(
            "run_finished",
            message=_sentence_of(report),
            run_id=report.run_id,
            kind=report.kind,
            status=report.status,
            tasks=report.tasks,
            held=len(report.held),
            failed=report.failed,
            requests=report.requests,
            pages=report.pages,
            new=report.new,
            changed=report.changed,
            unchanged=report.unchanged,
            vanished=report.vanished,
            quarantined=report.quarantined,
            bytes=report.size_bytes,
            seconds=_seconds_of(report),
        )

    def _note_walk(self, walk: WalkReport) -> None:
        if walk.error is not None:
            self._log.warning(
                "task_failed",
                message=walk.error,
                task_id=walk.task_id,
                kind=walk.kind,
                error_kind=walk.error_kind,
                pages=walk.pages,
            )
        elif walk.lease_lost:
            message = "Another worker has taken the task meanwhile: the page in hand was not written."
            self._log.warning("lease_lost", message=message, task_id=walk.task_id, pages=walk.pages)
        else:
            how = "is held by another worker" if walk.kind is None else "was walked"
            self._log.debug(
                "walk_finished",
                message=f"The task {how}{', and gave way to others' if walk.gave_way else ''}.",
                task_id=walk.task_id,
                kind=walk.kind,
                pages=walk.pages,
                new=walk.new,
                changed=walk.changed,
                unchanged=walk.unchanged,
                vanished=walk.vanished,
            )

    def _note_page(self, page: PageApplied) -> None:
        self._note_database()
        self._log.debug(
            "page_stored",
            message="A page is stored.",
            task_id=page.task_id,
            kind=page.kind,
            new=page.new,
            changed=page.changed,
            unchanged=page.unchanged,
            vanished=page.vanished,
            quarantined=page.quarantined,
            bytes=page.size_bytes,
            seconds=page.commit_seconds,
        )

    def _note_request(self, request: RequestMade) -> None:
        what = "nothing" if request.status is None else str(request.status)
        message = f"{request.method} was answered with {what}."
        self._log.debug("request_made", message=message, status=request.status, seconds=request.seconds)

    def _note_wait(self, waited: Waited) -> None:
        said = {"error_kind": waited.cause, "seconds": waited.seconds}
        if waited.cause.startswith(_DATABASE) and not self._database_is_away:
            self._database_is_away = True
            message = "The database does not answer: what was to be written is held until it does."
            self._log.warning("database_lost", message=message, **said)
            return
        loud = waited.seconds >= _LONG_WAIT and not self._database_is_away
        tell = self._log.info if loud else self._log.debug
        tell("waiting", message=f"Waiting {waited.seconds:.1f} s after {waited.cause}.", **said)

    def _note_database(self) -> None:
        if self._database_is_away:
            self._database_is_away = False
            self._log.info("database_back", message="The database answers again.")


def _sentence_of(report: RunReport) -> str:
    run = f"Run {report.run_id} ({report.kind})"
    if report.status == "failed":
        return f"{run} failed: {report.error}"
    ended = "was interrupted" if report.status == "interrupted" else "succeeded"
    return (
        f"{run} {ended}: tasks {report.tasks}, new events {report.new}, changed {report.changed}, "
        f"in {_seconds_of(report):.1f} s."
    )


def _seconds_of(report: RunReport) -> float:
    return round((report.ended_at - report.started_at).total_seconds(), 3)


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
        if error is not None:
            message = message.partition("\n")[0]  # asyncio tells the exception's text below
        tell("library", message=message, logger=record.name, exc_info=error)


def _stamp_with(clock: Clock) -> Processor:
    def stamp(_log: Any, level: str, fields: EventDict) -> EventDict:
        now = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {**fields, "time": now, "level": level}

    return stamp


def _tell_place_of_exception(_log: Any, _level: str, fields: EventDict) -> EventDict:
    """Replace an exception (`exc_info`) by its class, our own sentence if it has one, and its place."""
    error = fields.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    if not isinstance(error, BaseException):
        return fields
    told = {"error_kind": type(error).__name__}
    if isinstance(error, MaiaSyncError):
        told["error"] = str(error)
    if isinstance(error, Bug) or not isinstance(error, MaiaSyncError):
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        told["place"] = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return {**told, **fields}


def _make_harmless(_log: Any, _level: str, fields: EventDict) -> EventDict:
    return {name: _harmless_value(value) for name, value in fields.items()}


def _harmless_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_harmless_value(each) for each in value]
    return harmless(str(value))


def _in_order(_log: Any, _level: str, fields: EventDict) -> EventDict:
    first = {name: fields.pop(name) for name in _FIRST if name in fields}
    return {**first, **{name: value for name, value in fields.items() if value is not None}}


def _render_for_console(_log: Any, _level: str, fields: EventDict) -> str:
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
