"""How do settings become connected objects? The composition root, used by the CLI and by tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.clock import SystemClock
from maia_sync.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from maia_sync.clock import Clock
    from maia_sync.model import Observer, RunReport, VerifyReport
    from maia_sync.settings import Settings


class App:
    """A configured maia-sync: its database and what can be done with it. A context manager."""

    def __init__(self, settings: Settings, clock: Clock, database: Database) -> None:
        self.settings = settings
        self.clock = clock
        self.database = database

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back every connection."""
        self.database.close()

    def sync(
        self, *, task_ids: Sequence[str] = (), full: bool = False, observers: Sequence[Observer] = ()
    ) -> RunReport:
        """Make one run: over every active task, or over `task_ids` (paused ones too).

        `full` reconciles. Raises OperatorMustAct (credentials, database, upstream unreachable);
        a task's own failure is in the report.
        """
        raise NotImplementedError

    def verify(self, *, task_ids: Sequence[str] = (), observers: Sequence[Observer] = ()) -> VerifyReport:
        """Compare the copy with upstream; writes nothing and takes no lease."""
        raise NotImplementedError


def open_app(settings: Settings, *, clock: Clock | None = None) -> App:
    """Connect the objects that the settings describe; the database is reached at first use."""
    clock = clock or SystemClock()
    database = Database(
        url=settings.database.resolve_url(),
        clock=clock,
        synchronous=settings.database.synchronous,
        connections=settings.api.concurrency,
    )
    return App(settings, clock, database)
