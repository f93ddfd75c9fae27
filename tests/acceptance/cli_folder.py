"""How do tests run the real command? In a folder of its own; in a process of its own where that matters.

An interpreter that starts and imports costs half a second of CPU, a hundred times what most commands take.
So `run` calls what the entry point calls, with the command line, the environment, the working directory and
the three streams that a process would have. `run_apart` makes a process; tests whose promise is about
processes, signals, terminals, memory or imports use it or `start`, and so does one test of every verb.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import maia_sync
from maia_sync.cli.main import run as run_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(maia_sync.__file__).resolve().parent.parent
SECRET = "s3cret-b3arer"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def is_one_clear_sentence(self) -> bool:
        """Exactly one line of complaint, nothing else, no traceback and no secret."""
        lines = self.err.splitlines()
        return (
            self.out == ""
            and len(lines) == 1
            and lines[0].startswith("Error: ")
            and "Traceback" not in self.err
            and SECRET not in self.err
        )


class CliFolder:
    """A folder and an environment for `maia-sync`."""

    def __init__(self, path: Path, **variables: str) -> None:
        self.path = path
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("MAIA_SYNC_")}
        self.variables = {
            **inherited,
            "PYTHONPATH": str(PACKAGE),
            "PYTHONWARNINGS": "error",
            "NO_PROXY": "127.0.0.1",
            **variables,
        }

    def run(self, *arguments: str, stdin: str | bytes = b"", **variables: str) -> Done:
        """Run the command here, in the tests' own process."""
        streams = [
            io.TextIOWrapper(io.BytesIO(given), encoding="utf-8") for given in (_bytes(stdin), b"", b"")
        ]
        with (
            contextlib.chdir(self.path),
            mock.patch.dict(os.environ, {**self.variables, **variables}, clear=True),
            mock.patch.multiple(sys, **dict(zip(("stdin", "stdout", "stderr"), streams, strict=True))),
            _logging_put_back(),
        ):
            code = run_command(list(arguments))
        told = [_written(stream) for stream in streams[1:]]
        return Done(code, *told)

    def run_apart(self, *arguments: str, stdin: str | bytes = b"", **variables: str) -> Done:
        """Run the command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "maia_sync", *arguments],
            cwd=self.path,
            env={**self.variables, **variables},
            input=_bytes(stdin),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "maia_sync", *arguments],
            cwd=self.path,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_can_be_interrupted,  # noqa: PLW1509 - before any thread of the child's
        )

    def ok(self, *arguments: str, stdin: str | bytes = b"") -> Done:
        """Run the command here; it must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done

    def ok_apart(self, *arguments: str, stdin: str | bytes = b"") -> Done:
        """Run the command in a process of its own; it must succeed."""
        done = self.run_apart(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done


@contextlib.contextmanager
def _logging_put_back() -> Iterator[None]:
    """Undo what a command that logs leaves behind, which would end with its process."""
    handlers = logging.root.handlers[:]
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.captureWarnings(capture=False)


def _bytes(given: str | bytes) -> bytes:
    return given.encode() if isinstance(given, str) else given


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.detach()
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def _can_be_interrupted() -> None:
    """Undo what a shell does to its background jobs: they, and whatever they start, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def for_sandbox(path: Path, url: str, authority: Path) -> CliFolder:
    """A folder whose environment points to a sandbox; one authority is loaded sooner than all."""
    return CliFolder(
        path,
        MAIA_SYNC_API__BASE_URL=url,
        MAIA_SYNC_API__CA_FILE=str(authority),
        MAIA_SYNC_API__RETRIES="0",
        MAIA_SYNC_AUTH__TOKEN=SECRET,
    )


def archiving(path: Path) -> CliFolder:
    """A folder whose environment names an archive and its key."""
    return CliFolder(path, MAIA_SYNC_ARCHIVE__URL="archive", MAIA_SYNC_ARCHIVE__KEY_FILE="archive.key")


def tracked_copy(migrated: Path, path: Path, task_ids: Iterable[str]) -> Path:
    """A copy of a migrated database in which tasks are tracked."""
    copy = path / "maia_sync.db"
    shutil.copyfile(migrated, copy)
    CliFolder(path).ok("track", *task_ids)
    return copy
