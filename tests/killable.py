"""How does a test run a sync in a process of its own, to be killed? A forge that forks one process per run.

Run as a program it imports maia_sync once, then forks a child for each order that comes as a line of JSON on
stdin. The child makes its runs and tells on stdout, one line each: `pid`, `page` (after a commit), `report`,
`error`; when it has ended, the forge tells `exit` and the status. Killed children are real processes. One
that is to archive instead tells `archiving`, then `archived`; one that is to call something else tells
`calling`, then `called`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self


class Life:
    """One child process: what it tells, and its end."""

    def __init__(self, lines: queue.Queue[dict[str, Any]]) -> None:
        self._lines = lines
        self.told: list[dict[str, Any]] = []
        self.status: int | None = None
        """The exit code, or minus the signal that ended it."""
        self.pid: int = self._next()["pid"]

    def _next(self) -> dict[str, Any]:
        line = self._lines.get(timeout=60)
        self.told.append(line)
        return line

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what the child tells until it has ended."""
        while self.status is None:
            line = self._next()
            if "exit" in line:
                self.status = os.waitstatus_to_exitcode(line["exit"])
                return
            yield line

    def wait_for_pages(self, number: int) -> bool:
        """Return when the child has committed so many pages; False if it ended before."""
        pages = sum("page" in line for line in self.told)
        lines = self.lines()
        while pages < number:
            line = next(lines, None)
            if line is None:
                return False
            pages += "page" in line
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a child that has just ended, though nobody has read so yet, gets none."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self) -> list[dict[str, Any]]:
        """Wait for the end; returns all reports."""
        for _ in self.lines():
            pass
        return [line["report"] for line in self.told if "report" in line]


class Forge:
    """Starts children; a context manager."""

    def __enter__(self) -> Self:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._reader.join(timeout=60)
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def start(self, environ: dict[str, str], *runs: dict[str, Any], **order: Any) -> Life:
        """Start a child that makes these runs (keywords of App.sync), one by one, in one process.

        `die_after_pages` kills it from within right after so many commits, `die_before` = [text, n] before
        the n-th statement that begins with the text, `die_at` before its n-th statement or commit. With
        `archive` it makes no run, but an archive. With `call` = "module:function" it makes none, but calls
        that with its App and the order; what is returned is told as `called`.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"environ": environ, "runs": runs or ({},), **order}) + "\n")
        self._process.stdin.flush()
        return Life(self._lines)


# ------------------------------------------------------------------ in the forge's own process


def _tell(**line: Any) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _forge() -> None:
    # So that no child has to import them, which would be half of a short one's work.
    import sqlite3  # noqa: F401

    import anyio._backends._asyncio  # noqa: F401
    import httpcore._backends.anyio  # noqa: F401
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401

    import maia_sync.app
    import maia_sync.config  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        if order.get("archive") or order.get("call"):
            _prepare_archiving()
        if order.get("call"):
            importlib.import_module(order["call"].partition(":")[0])
        pid = os.fork()
        if pid == 0:
            _live(order)
        _, status = os.waitpid(pid, 0)
        _tell(exit=status)


def _prepare_archiving() -> None:
    """Import what only a child that archives needs."""
    from maia_sync.archive import create, ed25519, segment  # noqa: F401

    segment.require_pyarrow()
    ed25519.require_cryptography()


def _live(order: dict[str, Any]) -> None:
    _tell(pid=os.getpid())
    code = 1
    try:
        code = _run(order)
    except Exception as error:  # noqa: BLE001 - told, and judged by the test
        _tell(error=type(error).__name__, text=str(error))
    finally:
        os._exit(code)


def _run(order: dict[str, Any]) -> int:
    from maia_sync.app import open_app
    from maia_sync.config import load_settings
    from maia_sync.model import PageApplied

    pages = 0

    def observe(observation: object) -> None:
        nonlocal pages
        if isinstance(observation, PageApplied):
            pages += 1
            if pages == order.get("die_after_pages"):
                _die()
            _tell(page=observation.task_id, kind=observation.kind)

    with open_app(load_settings(environ=order["environ"])) as app:
        _arm(app.database.engine, order)
        if order.get("archive"):
            _tell(archiving=True)
            _tell(archived=app.create_archive().new)
            return 0
        if order.get("call"):
            module, _, name = order["call"].partition(":")
            _tell(calling=True)
            _tell(called=getattr(importlib.import_module(module), name)(app, order))
            return 0
        for run in order["runs"]:
            report = app.sync(**run, observers=[observe])
            _tell(
                report={
                    "status": report.status,
                    "new": report.new,
                    "vanished": report.vanished,
                    "held": len(report.held),
                    "failed": report.failed,
                    "requests": report.requests,
                    "interrupted_by": report.interrupted_by,
                    "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                }
            )
    return 0


def _arm(engine: Any, order: dict[str, Any]) -> None:
    """Let the child die at the moment that the order names."""
    from sqlalchemy import event

    steps = 0
    beginning, left = order.get("die_before", ["nothing at all", 1])

    def step(text: str) -> None:
        nonlocal steps, left
        steps += 1
        left -= text.startswith(beginning)
        if steps == order.get("die_at") or left == 0:
            _die()

    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: step(statement))
    event.listen(engine, "commit", lambda _: step("COMMIT"))


if __name__ == "__main__":
    _forge()
