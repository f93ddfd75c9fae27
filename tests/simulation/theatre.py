"""How is a story played? On one real SQLite file, with an end where all must be well."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from zlib import crc32

import msgspec
from sqlalchemy import text

from maia_sync.clock import ManualClock, SystemClock
from maia_sync.config import load_settings
from maia_sync.errors import OperatorMustAct
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from tests.simulation.archivist import Archivist
from tests.simulation.image import Dead, Image
from tests.simulation.ledger import BrokenPromiseError, Ledger
from tests.simulation.story import Act, Change, Pass, Process, Story
from tests.simulation.upstream import ORIGIN, TOKEN_URL, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from maia_sync.settings import Settings
    from tests.simulation.story import Setting

T = TypeVar("T")

_LONGER_THAN_A_LEASE = 61.0
_MOST_RECONCILES = 3
"""One may finish what an earlier one had begun, one may doubt that so much has vanished, one must agree."""
_STUCK = 60.0
"""Real seconds after which a process that has not ended will never do so: no clock ticks for it."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a story came to."""

    seed: int
    violation: str | None = None
    step: int = 0
    """The step at which the promise was broken."""
    processes: int = 0
    requests: int = 0
    events: int = 0
    compared: int = 0
    together: int = 0
    """Commits of more than one page."""
    crashes: dict[str, int] = {}
    faults: dict[str, int] = {}
    trace: int = 0
    """A number that is the same whenever the same happens."""


def play(story: Story, template: Path) -> Outcome:
    """Play a story on a copy of a migrated database."""
    path = template.with_name(f"{secrets.token_hex(8)}.db")
    shutil.copyfile(template, path)
    theatre = Theatre(story, path)
    try:
        theatre.play()
    except BrokenPromiseError as violation:
        theatre.outcome.violation = str(violation)
    except Exception as error:  # noqa: BLE001 - whatever it is, the story shows it
        theatre.outcome.violation = f"{type(error).__name__}: {error}"
    finally:
        theatre.close()
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    return theatre.outcome


def make_template(folder: Path) -> Path:
    """Make a migrated database to be copied."""
    path = folder / "template.db"
    database = Database(url=f"sqlite:///{path}", clock=SystemClock())
    upgrade(database)
    with database.transaction(write=False) as tx:
        tx.connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    database.close()
    return path


class Theatre:
    """One story under way."""

    def __init__(self, story: Story, path: Path) -> None:
        self.story = story
        self.outcome = Outcome(seed=story.seed, crashes={}, faults={})
        self._path = path
        self._clock = ManualClock()
        self._upstream = Upstream(story.setting, self._clock.now)
        self._ledger = Ledger(path, self._upstream)
        self._archivist = Archivist(path, self._clock, story.seed)
        self._settings = _settings(story.setting)
        self._named = 0
        self._track()

    def _track(self) -> None:
        with sqlite3.connect(self._path, isolation_level=None) as connection:
            for task_id in self._upstream.logs:
                connection.execute(
                    "INSERT INTO task (task_id, status, tracked_at, next_poll_at, next_reconcile_at)"
                    " VALUES (?, 'active', ?, ?, ?)",
                    (
                        task_id,
                        *(self._clock.now().isoformat(" ", "microseconds").removesuffix("+00:00"),) * 3,
                    ),
                )
        connection.close()

    def close(self) -> None:
        """Close the ledger and the archive."""
        self.outcome.compared = self._ledger.compared
        self._archivist.close()
        self._ledger.close()

    def play(self) -> None:
        """Play every step, and then the end. Raises BrokenPromiseError."""
        for number, step in enumerate(self.story.steps):
            self.outcome.step = number
            self._do(step)
            self._archivist.come_by()
        self.outcome.step = len(self.story.steps)
        self._end()

    def _do(self, step: Change | Pass | Act) -> None:
        if isinstance(step, Change):
            self._upstream.log(step.task % len(self._upstream.logs)).change(step)
        elif isinstance(step, Pass):
            (self._clock.jump if step.jump else self._clock.advance)(step.seconds)
        else:
            self._act(step)

    def _midway(self, deed: Change | Pass) -> None:
        self._do(deed)
        setting = self.story.setting
        if isinstance(deed, Change) and setting.served == "newest-first" and setting.tokens != "anchor":
            log = self._upstream.log(deed.task % len(self._upstream.logs))
            log.orderly = False  # a token's place has moved: what is new comes behind what is known

    def _note(self, deed: str) -> None:
        self.outcome.trace = crc32(deed.encode(), self.outcome.trace)

    def _act(self, act: Act) -> list[Image]:
        processes = [act.one] if act.other is None else [act.one, act.other]
        images = [self._image(process, seat) for seat, process in enumerate(processes)]
        try:
            _run(self._together(images))
        finally:
            for image in images:
                image.bury()
                self._ledger.end_process(image.name)
        revoked = any("revoke_access" in image.hit for image in images)
        for image in images:
            self._judge(image, has_peace=not revoked)
        for task_id in self._upstream.logs:
            self._ledger.check(task_id)
        return images

    def _image(self, process: Process, seat: int) -> Image:
        self._named += 1
        return Image(
            f"process {self._named}",
            process,
            seat=seat,
            path=self._path,
            clock=self._clock,
            settings=self._settings,
            upstream=self._upstream,
            ledger=self._ledger,
            midway=self._midway,
            note=self._note,
        )

    async def _together(self, images: list[Image]) -> None:
        asyncio.get_running_loop().set_default_executor(_Inline())
        lives = [asyncio.create_task(images[0].live())]
        if len(images) == 1:
            images[0].awake.set()
        else:
            if images[0].process.pause_at is not None:
                await images[0].asleep.wait()
                self._clock.advance(_LONGER_THAN_A_LEASE)
                self._ledger.fence(images[0].name)
            other = asyncio.create_task(images[1].live())
            lives.append(other)
            if images[0].process.pause_at is not None:
                await asyncio.wait([other])
                self._ledger.unfence_unless_taken(images[0].name, images[1].walked)
                images[0].awake.set()
        _, waiting = await asyncio.wait(lives, timeout=_STUCK)
        for image in images:
            image.is_dead = True
        left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[operator]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if waiting:
            raise BrokenPromiseError("a process waits for ever")
        for life in lives:
            error = life.exception()
            if error is not None and not isinstance(error, Dead):
                raise error

    def _judge(self, image: Image, *, has_peace: bool) -> None:
        """Raise what a process did wrong; `has_peace`: nobody's fault was another's too."""
        outcome = self.outcome
        outcome.processes += 1
        outcome.together += sum(times for pages, times in image.together.items() if pages > 1)
        for deed, times in image.died.items():
            outcome.crashes[deed] = outcome.crashes.get(deed, 0) + times
        for kind, times in image.hit.items():
            outcome.faults[kind] = outcome.faults.get(kind, 0) + times
        if image.violation is not None:
            raise image.violation
        if image.fault is not None and not isinstance(image.fault, OperatorMustAct):
            raise image.fault
        quiet = has_peace and not image.hit and not image.process.midway and image.process.crash is None
        if quiet and image.fault is not None:
            raise BrokenPromiseError(f"a run failed for no reason: {image.fault}")

    def _end(self) -> None:
        """Let upstream be well, and see that the copy becomes the log, whatever was before."""
        self._upstream.honest = True
        self._clock.advance(86_400.0)
        self._finish("sync")
        for _ in range(_MOST_RECONCILES):
            self._finish("full")
            if all(self._ledger.is_equal(task_id) for task_id in self._upstream.logs):
                break
        for task_id in self._upstream.logs:
            self._ledger.require_equal(task_id)
        self._finish("sync")
        self._archivist.require_equal()
        self._require_idle()
        self._archivist.require_nothing_new()
        for task_id in self._upstream.logs:
            self._ledger.require_equal(task_id)
        self.outcome.events = sum(len(log.items) for log in self._upstream.logs.values())
        self.outcome.requests = self._upstream.requests

    def _finish(self, mode: str) -> Image:
        (image,) = self._act(Act(one=Process(seed=0, mode=mode)))  # type: ignore[arg-type]
        report = image.report
        if report is None or report.failed or report.held or report.status != "succeeded":
            raise BrokenPromiseError(
                f"at the end a run did not succeed: {(report and report.error) or image.fault}"
            )
        return image

    def _require_idle(self) -> None:
        """Check that a poll of an unchanged log is one request, where its order is known.

        Where it is not, more of the log is looked at to find it out. A newest-first log is read on until two
        rows are met that stand side by side in the copy too: where pages overlap, or events have moved, that
        may take more. Events that come in front of all others can make a log seem newest-first that is not.
        """
        setting, before = self.story.setting, dict(self._upstream.asked)
        written = self._finish("sync").written
        rows = {deed for deed in written if "task_event" in deed or "quarantine" in deed}
        if rows:
            raise BrokenPromiseError(f"an idle poll wrote rows: {', '.join(sorted(rows))}")
        for task_id, log in self._upstream.logs.items():
            asked = self._upstream.asked[task_id] - before[task_id]
            order = setting.served if setting.order == "told" else self._ledger.order_of(task_id)
            if log.only_grew and order in {"oldest-first", "newest-first"} - {setting.served}:
                raise BrokenPromiseError(f"a log that is served {setting.served} is taken for {order}")
            is_plain = log.orderly and log.is_all_events and not setting.overlap
            if order == setting.served and asked != 1 and (order == "oldest-first" or is_plain):
                raise BrokenPromiseError(f"an idle poll of a log ({order}) took {asked} requests")


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Do what asyncio.run does, but for the thread which that starts to await an executor without any."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


class _Inline(ThreadPoolExecutor):
    """What the event loop does in a thread is done at once: when a thread ends, no seed decides."""

    def submit(self, work: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        """Do the work; returns a future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(work(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - told through the future
            future.set_exception(error)
        return future


@cache
def _settings(setting: Setting) -> Settings:
    order = "auto" if setting.order == "auto" else setting.served
    environ = {
        "MAIA_SYNC_API__BASE_URL": ORIGIN,
        "MAIA_SYNC_API__ORDER": order,
        "MAIA_SYNC_API__RETRIES": "2",
        "MAIA_SYNC_API__PAGE_SIZE": str(setting.page_size),
        "MAIA_SYNC_API__CONCURRENCY": str(setting.concurrency),
        "MAIA_SYNC_SCHEDULE__TURN_PAGES": str(setting.turn_pages),
    }
    if setting.signs_in:
        environ |= {
            "MAIA_SYNC_AUTH__CLIENT_ID": "simulated",
            "MAIA_SYNC_AUTH__CLIENT_SECRET": "simulated",
            "MAIA_SYNC_AUTH__TOKEN_URL": TOKEN_URL,
        }
    else:
        environ["MAIA_SYNC_AUTH__TOKEN"] = "simulated"
    return load_settings(environ=environ)
