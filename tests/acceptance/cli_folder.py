"""How do tests run the real command? In a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import maia_sync

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        done = subprocess.run(
            [sys.executable, "-m", "maia_sync", *arguments],
            cwd=self.path,
            env={**self.variables, **variables},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
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
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done


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


def tracked_copy(migrated: Path, path: Path, task_ids: Iterable[str]) -> Path:
    """A copy of a migrated database in which tasks are tracked."""
    copy = path / "maia_sync.db"
    shutil.copyfile(migrated, copy)
    CliFolder(path).ok("track", *task_ids)
    return copy
