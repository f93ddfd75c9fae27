"""What `status` tells a person and a monitor: the real command, on databases in every state."""

from __future__ import annotations

import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from cli_folder import CliFolder

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "\x1b[31mred\u202e label\nof two lines that goes on well beyond what fits a terminal"
ERROR = "the API answered 502 Bad Gateway four times in a row; the page is asked for again at the next poll"
KEYS = {"now", "tasks_by_status", "totals", "max_lag_seconds", "stale", "tasks", "last_runs"}
NEW_KEYS = {"due", "over_lag", "leases", "freshest", "stalest", "failing", "tasks_left_out"}


class Copy:
    """A folder with a database of tasks in any state; moments are seconds from now."""

    def __init__(self, folder: CliFolder) -> None:
        self.folder = folder
        self.tasks = 0

    def add(self, many: int = 1, **values: Any) -> str:
        now = datetime.now(UTC)
        row = {"status": "active", "tracked_at": -9000, "last_polled_at": -60, "next_poll_at": 600, **values}
        for name, value in row.items():
            if name.endswith("_at") and value is not None:
                row[name] = f"{now + timedelta(seconds=value):%Y-%m-%d %H:%M:%S.%f}"
        names = [str(UUID(int=self.tasks + number, version=4)) for number in range(many)]
        self.tasks += many
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        with closing(sqlite3.connect(self.folder.path / "maia_sync.db")) as connection, connection:
            connection.executemany(
                f"INSERT INTO task (task_id, {columns}) VALUES (?, {marks})",
                [(name, *row.values()) for name in names],
            )
        return names[0]

    def seen_in_a_terminal(self, columns: int) -> list[str]:
        """Return the lines of `status` as a terminal of so many columns gets them."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "maia_sync", "status"],
            cwd=self.folder.path,
            env={**self.folder.variables, "COLUMNS": str(columns)},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # which is how Linux says that the other side has gone
            while part := os.read(ours, 65_536):
                shown += part
        os.close(ours)
        assert process.wait(timeout=60) == 0, shown
        return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def copy(tmp_path: Path, migrated_sqlite: Path) -> Copy:
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    return Copy(CliFolder(tmp_path))


def test_the_status_of_an_empty_copy_says_what_to_do_next(copy: Copy) -> None:
    shown = copy.folder.ok("status").out
    assert "maia-sync track" in shown
    document = copy.folder.ok("status", "--json").json()
    assert set(document) >= KEYS | NEW_KEYS
    assert document["tasks_by_status"] == {}
    assert copy.folder.ok("status", "--check").err == ""
    copy.add()
    assert "maia-sync sync" in copy.folder.ok("status").out


def test_the_check_takes_its_bound_from_the_configuration_unless_it_is_given_one(copy: Copy) -> None:
    copy.add(last_polled_at=-1200)
    copy.add(status="untracked", last_polled_at=-90_000)
    copy.add(status="missing", last_polled_at=-90_000)
    assert "30m" in copy.folder.ok("status", "--check").out
    stale = copy.folder.run("status", "--check", MAIA_SYNC_SCHEDULE__MAX_LAG="15m")
    assert (stale.code, stale.out) == (1, "")
    assert stale.err == "Stale: 1 active task is more than 15m behind (1 missing: no bound)\n"
    fresh = copy.folder.run("status", "--check", "--max-lag", "1h", MAIA_SYNC_SCHEDULE__MAX_LAG="15m")
    assert (fresh.code, fresh.err) == (0, "")
    assert copy.folder.run("status", "--check", "--max-lag", "soon").code == 2
    document = copy.folder.run("status", "--check", "--json", "--max-lag", "15m")
    assert document.code == 1
    assert len(document.json()["stale"]) == document.json()["over_lag"] == 1


def test_the_document_lists_at_most_1000_tasks_and_counts_all(copy: Copy) -> None:
    copy.add(1200, last_polled_at=-4000)
    failing = copy.add(last_error=ERROR, last_error_at=-5, failures=3)
    copy.add(9, status="untracked")
    document = copy.folder.ok("status", "--json").json()
    assert set(document) >= KEYS | NEW_KEYS
    assert (len(document["tasks"]), document["tasks_left_out"]) == (1000, 210)
    assert (len(document["stale"]), document["over_lag"]) == (1000, 1200)
    assert document["tasks"][0]["task_id"] == failing
    assert document["failing"] == 1
    assert len(copy.folder.ok("tasks", "--json").json()) == 1201
    shown = copy.folder.ok("status").out
    assert "1,200 active tasks more than 30m behind" in shown
    assert "... and 1,171 more: `maia-sync tasks`" in shown
    assert len(shown.splitlines()) < 60


def fill_with_troubles(copy: Copy) -> dict[str, str]:
    lease = {
        "lease_acquired_at": -200_000,
        "lease_expires_at": 200_000,
        "next_poll_at": -300,
        "label": HOSTILE,
    }
    return {
        "fresh": copy.add(label=HOSTILE, last_polled_at=-2),
        "stale": copy.add(last_polled_at=-7200, label=HOSTILE),
        "failing": copy.add(last_error=ERROR, last_error_at=-100_000, failures=7, label=HOSTILE),
        "forbidden": copy.add(status="forbidden", last_polled_at=None, last_error=ERROR, last_error_at=-9),
        "missing": copy.add(status="missing", last_error="404", last_error_at=-9, label=HOSTILE),
        "held": copy.add(lease_owner="worker-a.example.org:4711:ab12cd34", **lease),
        "held too": copy.add(lease_owner="worker-b.example.org:4711:99aa77ff", **lease),
    }


def test_the_status_names_what_fails_what_is_withheld_and_who_holds_what(copy: Copy) -> None:
    names = fill_with_troubles(copy)
    lines = copy.folder.ok("status").out.splitlines()

    def behind(beginning: str) -> list[str]:
        at = next(at for at, line in enumerate(lines) if line.startswith(beginning))
        return lines[at:]

    (failing, error, task, *_) = behind("Failing")
    assert failing == "Failing: 1 task"
    assert ERROR in error
    assert f"{names['failing']}  7 failures in a row, 1d 3h ago" in task
    assert "asked again every 1h" in behind("Forbidden (403): 1 task")[0]
    assert "asked again every 1d" in behind("Missing (404): 1 task")[0]
    reading = behind("Being read now: 2 tasks by 2 workers")
    assert reading[1] == "  worker-a.example.org:4711:ab12cd34, 1 task"
    assert reading[2].startswith(f"    {names['held']}  for 2d 7h, lease ends in 2d 7h")
    assert reading[3] == "  worker-b.example.org:4711:99aa77ff, 1 task"
    assert names["fresh"] in behind("Freshest")[0]
    assert names["stale"] in behind("Stalest")[0]


def test_the_status_fits_a_terminal_of_80_columns_and_obeys_no_label(copy: Copy) -> None:
    names = fill_with_troubles(copy)
    copy.add(200, last_polled_at=-100)
    lines = copy.seen_in_a_terminal(80)
    assert max(len(line) for line in lines) <= 80
    shown = "\n".join(lines)
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "\\u001b[31mred\\u202e" in shown
    for name in names.values():
        assert name in shown
    assert ERROR in " ".join(shown.split())
