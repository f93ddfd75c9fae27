"""How does a worker keep its tasks while it waits? It renews its leases at a third of their life."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from maia_sync.errors import DatabaseError
from maia_sync.store.leases import renew_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maia_sync.clock import Clock
    from maia_sync.model import Lease
    from maia_sync.store.database import Database
    from maia_sync.sync.handover import Handover


class Heartbeat:
    """The leases that a run holds, and what keeps them alive between page commits."""

    def __init__(self, *, database: Database, handover: Handover, clock: Clock, lease_seconds: float) -> None:
        self._database = database
        self._handover = handover
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._held: dict[str, Lease] = {}

    @property
    def is_holding(self) -> bool:
        """Tell whether there are leases to keep alive."""
        return bool(self._held)

    def hold(self, lease: Lease) -> None:
        """Begin to keep a lease alive; may be called in any thread."""
        self._held[lease.task_id] = lease

    def drop(self, lease: Lease) -> None:
        """Keep a lease alive no longer: it has been given back, or will be."""
        if self._held.get(lease.task_id) is lease:
            del self._held[lease.task_id]

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat as long as the block lasts."""
        beating = asyncio.create_task(self._beat_on())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _beat_on(self) -> None:
        while True:
            await self._clock.idle(self._lease_seconds / 3)
            await self.beat()

    async def beat(self) -> None:
        """Renew every lease that is held; one that is another worker's by now is held no longer.

        A database that is away does not matter here: whoever works on a page will notice.
        """
        held = list(self._held.values())
        if not held:
            return
        with suppress(DatabaseError):
            for lease in await self._handover.run(partial(self._renew, held)):
                self.drop(lease)

    def _renew(self, held: list[Lease]) -> list[Lease]:
        with self._database.transaction() as tx:
            return renew_all(tx, held, self._lease_seconds)
