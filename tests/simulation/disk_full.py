"""Does a SQLite copy survive a disk that fills up? The real command without room, and then with room again.

The disk is a small tmpfs where mounting is allowed. Everywhere a limit on the size of files does it too: what
is written beyond it is refused, as by a quota.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal

from maia_sync.sandbox.server import SandboxServer
from tests.acceptance.cli_folder import CliFolder, Done
from tests.killable import Forge
from tests.simulation.kills_lives import Plan, live
from tests.simulation.kills_places import Place, new_place
from tests.simulation.kills_upstream import Logs, WatchedWorld
from tests.simulation.kills_witness import Proof, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DISK = "64m"  # SQLite's write-ahead log alone may take half of it
_TASKS = 3
_ROOMS = (600_000, 0, 200_000, 20_000, 1_500_000, 60_000)
"""How much room the disk has at most when a run begins."""
_PATIENCE = "0.01"
_WITH_LIMIT = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
del sys.argv[1]
runpy.run_module("maia_sync", run_name="__main__", alter_sys=True)
"""
"""Python ignores SIGXFSZ: a write beyond the limit gives an error."""
_EXIT_DATABASE = 5

Way = Literal["disk", "limit"]
_NO_ROOM = "there is no room left on the disk that holds the database"
_SENTENCES: dict[Way, tuple[str, ...]] = {
    "disk": (_NO_ROOM,),
    "limit": (_NO_ROOM, "cannot be used: disk I/O error"),
}
"""What a run says in the end; SQLite tells a limit as an error of input and output."""


@dataclass(frozen=True, kw_only=True)
class DiskSurvived(Proof):
    """What so many full disks came to."""

    disks: int
    """Runs that failed on a disk without room; 0 where no small disk can be mounted."""
    limits: int
    """Runs that failed on a limit on the size of files."""
    fitted: int
    """Runs for which the room was enough."""
    stored_before_full: int
    """Events that failing runs had committed before they failed."""

    def rows(self) -> list[tuple[str, str]]:
        """Return what a table of it all says."""
        of = "full disk, SQLite"
        return [
            (f"{of}: runs that failed for want of room", f"{self.disks:,}"),
            (f"{of}: runs that failed on a limit on the size of files", f"{self.limits:,}"),
            *self.verdict(of),
        ]


def survive_full_disk(rounds: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> DiskSurvived:
    """Fill a disk so many times, and as often reach a limit; room comes back each time."""
    began = time.monotonic()
    with ExitStack() as stack:
        world = WatchedWorld()
        api = stack.enter_context(SandboxServer(world)).url
        place = stack.enter_context(new_place("sqlite"))
        logs = Logs(world, Random(seed), longest=100)
        filling = _Filling(place, logs, api, stack.enter_context(Forge()))
        for number in range(rounds):
            filling.round("limit", _ROOMS[number % len(_ROOMS)])
        with small_disk() as folder:
            if folder is not None:
                filling.move(folder)
                for number in range(rounds):
                    filling.round("disk", _ROOMS[number % len(_ROOMS)])
                tell(f"sqlite: {filling.counts['disk']} full disks, {filling.counts['limit']} limits reached")
            filling.end()
        findings, counts = filling.witness.findings, filling.counts
        return DiskSurvived(
            disks=counts["disk"],
            limits=counts["limit"],
            fitted=counts["fitted"],
            stored_before_full=counts["stored"],
            **findings.proved(seed, began),
        )


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """Yield a folder on a disk of its own with little room; None where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="maia-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=700", "tmpfs", folder]
        mounted = False
        with suppress(OSError):
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield Path(folder) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", folder], check=True)


class _Filling:
    """The rounds, one after another."""

    def __init__(self, place: Place, logs: Logs, api: str, forge: Forge) -> None:
        self._place = place
        self._forge = forge
        self._logs = logs
        self._api = api
        self.witness = Witness(logs)
        self.counts: Counter[str] = Counter()
        place.track([logs.begin() for _ in range(_TASKS)])

    def move(self, folder: Path) -> None:
        """Move the database to another disk."""
        self._place.copy.ask(f"VACUUM INTO '{folder / 'copy.db'}'")
        self._place = replace(self._place, url=f"sqlite:///{folder / 'copy.db'}")

    def round(self, way: Way, room: int) -> None:
        """Let a run meet its disk's end, and another one go on when there is room again."""
        for task in self._logs.active:
            self._logs.append(task, 150)
        self._logs.go_on()
        before = self._rows()
        done = self._run_on_full_disk(room) if way == "disk" else self._run_with_limit(room)
        if done.code == 0:
            self.counts["fitted"] += 1
        else:
            self.counts[way] += 1
            self._judge(done, way)
        self._place.end_leases()
        self._check()
        self.counts["stored"] += self._rows() - before
        self._go_on()

    def end(self) -> None:
        """Compare the copy with the logs, event by event."""
        for _ in range(2):
            self._run_with_room(full=True)
        self._check()
        self.witness.require_equal(self._place.copy)

    def _go_on(self) -> None:
        self._run_with_room(full=False)
        self._check()
        growing = [task for task in self._logs.active if task in self._logs.growing]
        self.witness.require_equal(self._place.copy, growing)

    def _environ(self) -> dict[str, str]:
        return self._place.environ(self._api, api__page_size=10, database__patience=_PATIENCE)

    def _folder(self) -> CliFolder:
        return CliFolder(self._place.folder, **self._environ())

    def _run_with_room(self, *, full: bool) -> None:
        lived = live(self._forge, self._environ(), Plan(full=full), 0.0)
        held = sum(report["held"] for report in lived.reports)
        if lived.wrong or held:
            self.witness.findings.wrong(f"a run with room: {lived.wrong or f'{held} tasks were held'}")

    def _run_on_full_disk(self, room: int) -> Done:
        ballast = self._place.file.parent / "ballast"
        _fill(ballast, room)
        try:
            return self._folder().run_apart("sync")
        finally:
            ballast.unlink()

    def _run_with_limit(self, room: int) -> Done:
        folder = self._folder()
        done = subprocess.run(
            [sys.executable, "-c", _WITH_LIMIT, str(room), "sync"],
            cwd=folder.path,
            env={**folder.variables, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _rows(self) -> int:
        return int(self._place.copy.one("SELECT count(*) FROM task_event"))

    def _judge(self, done: Done, way: Way) -> None:
        last = (done.err.splitlines() or [""])[-1]
        told = last.startswith("Error: ") and any(sentence in last for sentence in _SENTENCES[way])
        if done.code != _EXIT_DATABASE or not told or "Traceback" in done.err:
            self.witness.findings.wrong(f"without room a run ended with {done.code}: {done.err[-500:]}")

    def _check(self) -> None:
        found = self._place.copy.ask("PRAGMA integrity_check")
        if found != [("ok",)]:
            self.witness.findings.wrong(f"the file is damaged: {found}")
        self.witness.check(self._place.copy)


def _fill(ballast: Path, room: int) -> None:
    """Fill a disk until it has so much room at most."""
    chunk = b"\0" * 65_536
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(chunk):
            pass
    with ballast.open("r+b") as file:
        file.truncate(max(ballast.stat().st_size - room, 0))
