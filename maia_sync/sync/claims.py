"""What has a run taken to walk, and not walked yet? A few tasks at a time, with their checkpoints.

Leases and checkpoints of several tasks take one transaction. They are kept alive from then on, and those
whose turn does not come are given back at the run's end; at worst they run out by themselves.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.errors import DatabaseUnreachable, MaiaSyncError
from maia_sync.store.checkpoints import read_checkpoints
from maia_sync.store.leases import acquire_leases, release_lease
from maia_sync.sync.patience import may_have_happened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from maia_sync.model import Checkpoint, Lease
    from maia_sync.store.database import Database, Transaction
    from maia_sync.sync.crew import Places
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.heartbeat import Heartbeat


_SHORT: Final = 0.1
"""Seconds within which all that was claimed has been begun, where walks are short."""


class Claim(NamedTuple):
    """A task that is to be walked now."""

    task_id: str
    lease: Lease | None
    """None: another worker holds the task."""
    checkpoint: Checkpoint | None = None
    """None: it is still to be read."""


class Claims:
    """The claims of one run that wait for their turn. They are added to and given back in any thread."""

    def __init__(self, database: Database, heartbeat: Heartbeat) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._waiting: deque[Claim] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, claims: Sequence[Claim]) -> None:
        """Add what has been committed; what was claimed must be given back in any case."""
        for claim in claims:
            if claim.lease is not None:
                self._heartbeat.hold(claim.lease)
        self._waiting += claims

    def take(self) -> Claim:
        """Return the next."""
        return self._waiting.popleft()

    async def give_back(self, handover: Handover) -> None:
        """Free the tasks that were not walked."""
        if self._waiting:
            with suppress(MaiaSyncError):
                await handover.run(self._release, surely=True)

    def _release(self) -> None:
        leases = [claim.lease for claim in self._waiting if claim.lease is not None]
        self._waiting.clear()
        with self._database.transaction() as tx:
            for lease in sorted(leases, key=lambda lease: lease.task_id):
                self._heartbeat.drop(lease)
                release_lease(tx, lease)


def with_checkpoints(tx: Transaction, leases: Sequence[Lease]) -> list[Claim]:
    """Return claims of these leases, with what is stored of where their tasks' walks begin."""
    checkpoints = read_checkpoints(tx, [lease.task_id for lease in leases])
    return [Claim(lease.task_id, lease, checkpoints.get(lease.task_id)) for lease in leases]


class NamedTasks:
    """Claims the tasks that are named, one after another, whether they are due or not."""

    def __init__(
        self,
        task_ids: AsyncIterator[str],
        *,
        database: Database,
        handover: Handover,
        heartbeat: Heartbeat,
        worker: str,
        lease_seconds: float,
        places: Places,
    ) -> None:
        self._task_ids = task_ids
        self._database = database
        self._handover = handover
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._places = places
        self._waiting = Claims(database, heartbeat)

    async def claims(self) -> AsyncIterator[Claim]:
        """Yield one task after another: as they are named, but for those that were not to be had at once.

        As many are claimed as can be walked at once: what another process could walk is not held for later.
        Where walks are short, up to twice as many as the last time though fewer are hungry, but not more than
        that: nothing is held for long then.
        """
        clock, ahead = self._database.clock, 1
        names: list[str] = []
        wanted = 1
        async for task_id in self._task_ids:
            if not names:
                wanted = min(max(ahead, await self._places.hunger()), self._places.number)
            names.append(task_id)
            if len(names) >= wanted:
                began = clock.monotonic()
                async for claim in self._claimed(names):
                    yield claim
                ahead = 2 * wanted if clock.monotonic() - began < _SHORT else 1
                names = []
        async for claim in self._claimed(names):
            yield claim

    async def _claimed(self, task_ids: Sequence[str]) -> AsyncIterator[Claim]:
        if task_ids:
            await self._claim(task_ids)
        while self._waiting:
            yield self._waiting.take()

    async def give_back(self, handover: Handover) -> None:
        """Free the tasks that were claimed and not walked."""
        await self._waiting.give_back(handover)

    async def _claim(self, task_ids: Sequence[str]) -> None:
        """Claim; those that are not to be had together are asked for one by one."""
        others = await self._acquired(task_ids)
        if len(task_ids) == 1:
            self._waiting.add([Claim(task_id, None) for task_id in others])
            return
        for task_id in others:
            await self._claim([task_id])

    async def _acquired(self, task_ids: Sequence[str]) -> list[str]:
        """Acquire leases, and return what could not be had; they may be ours already if a COMMIT was lost."""
        try:
            return await self._handover.run(partial(self._acquire, task_ids), once=True)
        except DatabaseUnreachable as trouble:
            if not may_have_happened(trouble):
                raise
        return await self._handover.run(partial(self._acquire, task_ids, again=True))

    def _acquire(self, task_ids: Sequence[str], *, again: bool = False) -> list[str]:
        with self._database.transaction() as tx:
            leases = acquire_leases(tx, task_ids, self._worker, self._lease_seconds, again=again)
            ours = {claim.task_id: claim for claim in with_checkpoints(tx, leases)}
        self._waiting.add([ours[task_id] for task_id in task_ids if task_id in ours])
        return [task_id for task_id in task_ids if task_id not in ours]
