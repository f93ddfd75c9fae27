"""How do tests run the daemon? As a real process, whose log is read, and which never outlives its test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from cli_folder import CliFolder

PATIENCE = 90.0
SETTINGS = {
    "MAIA_SYNC_LOG__FORMAT": "json",
    "MAIA_SYNC_WEB__BIND": "127.0.0.1:0",
    "MAIA_SYNC_SCHEDULE__POLL": "1s",
    "MAIA_SYNC_SCHEDULE__MIN_INTERVAL": "1s",
    "MAIA_SYNC_SCHEDULE__LEASE": "5s",
    "MAIA_SYNC_API__BACKOFF": "50ms",
}
"""Of a hurried daemon."""


def wait_until(done: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
    """Wait for what other processes bring about; fail with `what` if they do not."""
    end = time.monotonic() + patience
    while not done():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


class Daemon:
    """One `maia-sync run`; a context manager."""

    def __init__(self, folder: CliFolder, name: str = "one", **variables: str) -> None:
        self._log = folder.path / f"daemon-{name}.log"
        environ = {**folder.variables, **SETTINGS, "MAIA_SYNC_SCHEDULE__WORKER": name, **variables}
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "maia_sync", "run"],
                cwd=folder.path,
                env=environ,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    @property
    def said(self) -> str:
        """All that it has written so far."""
        return self._log.read_text(encoding="utf-8")

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what it has logged, or the lines of one event."""
        told = [
            json.loads(line) for line in self.said.splitlines() if line.startswith("{") and line.endswith("}")
        ]
        return [line for line in told if event in (None, line["event"])]

    def wait_for(self, event: str, number: int = 1) -> dict[str, Any]:
        """Wait until it has logged an event so many times; return the last line of it."""
        wait_until(lambda: len(self.lines(event)) >= number, f"{event} in:\n{self.said[-3000:]}")
        return self.lines(event)[-1]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Tell it to end; return its exit code and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        return code, time.monotonic() - began
