"""Does the archive of a story's copy come to what the copy holds, whatever crashed in between?

Between a story's steps it enrols tasks and archives what waits, in rounds of any size, and is cut off itself.
It stands in no story: a story's seed tells what it does. Of three stories it is in two.
"""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from maia_sync.store.database import Database
from tests.archive_replay import Replay, archive, assert_archived, enrol
from tests.oracle import Copy
from tests.simulation.ledger import BrokenPromiseError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from maia_sync.clock import Clock


class _Seat:
    """An engine for the archivist of one story after another, which compiles each statement once."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, _dialect: Any, _record: Any, arguments: Any, options: Any) -> sqlite3.Connection:
        return sqlite3.connect(self.path, *arguments[1:], **options)


_SEATS: list[_Seat] = []


class Archivist:
    """Who archives one story's copy."""

    def __init__(self, path: Path, clock: Clock, seed: int) -> None:
        url = f"sqlite:///{path}"
        self._rng = random.Random(f"archive {seed}")
        self._is_in = self._rng.random() < 2 / 3
        self._copy = Copy(url)
        self._database = Database(url=url, clock=clock)
        if not _SEATS:
            _SEATS.append(_Seat(self._database.engine, path))
        _SEATS[0].path = path
        self._database.engine = _SEATS[0].engine
        self._replay = Replay()

    def close(self) -> None:
        """Leave the copy."""
        self._database.close()

    def come_by(self) -> None:
        """Do something, or nothing."""
        rng = self._rng
        chance = rng.random()
        if not self._is_in or chance > 0.35:
            return
        if chance < 0.1:
            enrol(self._database)
            return
        most = rng.choice([3, 30, 500_000])
        archive(self._database, self._replay, most=most, cut_off=rng.choice(["", "", "before", "after"]))

    def require_equal(self) -> None:
        """Check that all that was archived comes to what the copy holds."""
        if not self._is_in:
            return
        try:
            archive(self._database, self._replay)
            assert_archived(self._replay, self._copy)
        except AssertionError as difference:
            raise BrokenPromiseError(f"the archive is not what the copy holds: {difference}") from difference

    def require_nothing_new(self) -> None:
        """Check that nothing but runs has been noted since `require_equal`."""
        before = self._replay.told - self._replay.kinds.get("run", 0)
        self.require_equal()
        if self._replay.told - self._replay.kinds.get("run", 0) != before:
            raise BrokenPromiseError("an idle poll noted something for the archive")
