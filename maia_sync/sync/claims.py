"""What has a run taken to walk, and not walked yet? A few tasks at a time, with their checkpoints.

Leases and checkpoints of several tasks take one transaction. They are kept alive from then on. Those whose
turn does not come are given back at the run's end, and those of named tasks that are more than can be walked
at once after a second; at worst they run out by themselves.
"""

from __future__ import annotations

import asyncio
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
_LONG: Final = 1.0
"""Seconds that more tasks than can be walked at once are held at most."""


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

    def add(self, claims: Sequence[Claim]) -> None:
        """Add what has been committed; what was claimed must be given back in any case."""
        for claim in claims:
            if claim.lease is not None:
                self._heartbeat.hold(claim.lease)
        self._waiting += claims

    def take(self) -> Claim:
        """Return the next."""
        return self._waiting.popleft()

    def __len__(self) -> int:
        return len(self._waiting)

    def take_all(self) -> list[Claim]:
        """Return all that wait; they must be given back."""
        claims = list(self._waiting)
        self._waiting.clear()
        return claims

    async def give_back(self, claims: Sequence[Claim], handover: Handover) -> None:
        """Free tasks that were claimed and not walked; at worst their leases run out."""
        if claims:
            with suppress(MaiaSyncError):
                await handover.run(partial(self._release, claims), surely=True)

    def _release(self, claims: Sequence[Claim]) -> None:
        leases = [claim.lease for claim in claims if claim.lease is not None]
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
        self._again: deque[str] = deque()
        """Tasks that were given back, to be claimed when they can be walked."""
        self._timer: asyncio.Task[None] | None = None

    async def claims(self) -> AsyncIterator[Claim]:
        """Yield one task after another: as they are named, but for those that were not to be had at once.

        As many are claimed as can be walked at once: what another process could walk is not held for later.
        Where walks are short, twice as many as the last time, for nothing is held for long then; where they
        turn out not to be, what still waits is given back.
        """
        clock, ahead = self._database.clock, 1
        while names := await self._next_names(ahead):
            began = clock.monotonic()
            await self._claim(names)
            if len(self._waiting) > self._places.number:
                self._timer = asyncio.create_task(self._give_back_later())
            while self._waiting:
                yield self._waiting.take()
            await self._stop_timer()
            ahead = 2 * len(names) if clock.monotonic() - began < _SHORT and not self._again else 1

    async def _next_names(self, ahead: int) -> list[str]:
        names: list[str] = []
        wanted = 1
        while len(names) < wanted:
            name = self._again.popleft() if self._again else await anext(self._task_ids, None)
            if name is None:
                break
            if not names:
                wanted = min(max(ahead, await self._places.hunger()), self._places.workers)
            names.append(name)
        return names

    async def _give_back_later(self) -> None:
        await self._database.clock.sleep(_LONG)
        claims = self._waiting.take_all()
        self._again.extend(claim.task_id for claim in claims)
        await self._waiting.give_back(claims, self._handover)

    async def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait({self._timer})
            self._timer = None

    async def give_back(self, handover: Handover) -> None:
        """Free the tasks that were claimed and not walked."""
        await self._stop_timer()
        await self._waiting.give_back(self._waiting.take_all(), handover)

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
