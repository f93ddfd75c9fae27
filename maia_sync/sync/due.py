"""Which task is walked next by a worker that shares them with others? The one that is due longest.

Tasks are claimed a few at a time. Where a run has time left and nothing is due, it waits for the
next task that will be; so a busy task is polled on time, not when the scheduler comes round again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from maia_sync.store.leases import claim_due, read_next_due
from maia_sync.sync.claims import Claims, with_checkpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from maia_sync.clock import Clock
    from maia_sync.store.database import Database
    from maia_sync.store.leases import ClaimKind
    from maia_sync.sync.claims import Claim
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.heartbeat import Heartbeat

_SHORTEST_WAIT = 0.05
_LONGEST_WAIT = 1.0
"""Seconds: others may make a task due meanwhile, by `track`, `send` or a source."""
_LOOK_AGAIN = 0.5
"""While tasks are being walked, nobody knows when they are due next: seconds until the next look."""


class Turn(NamedTuple):
    """How far a run goes: each walk so many pages, all of it until a point of the monotonic clock."""

    pages: int
    until: float | None = None
    """None: until nothing is due."""
    waits: bool = False
    """It waits for what comes due until then; else only while its own tasks are walked."""


class DueTasks:
    """Claims tasks that are due, one after another, for the walks of one run."""

    def __init__(
        self,
        *,
        kind: ClaimKind,
        database: Database,
        handover: Handover,
        clock: Clock,
        heartbeat: Heartbeat,
        worker: str,
        lease_seconds: float,
        most: int,
        turn: Turn,
        due_at: datetime | None = None,
    ) -> None:
        self.kind = kind
        self.turn = turn
        self._database = database
        self._handover = handover
        self._clock = clock
        self._heartbeat = heartbeat
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._most = most
        self._due_at = due_at
        self._waiting = Claims(database, heartbeat)

    async def look(self) -> bool:
        """Claim the first tasks, waiting for them if the turn allows; False if there are none."""
        soon = _SHORTEST_WAIT
        while not self._waiting:
            wait = await self._handover.run(self._claim)
            if self._waiting or not self._is_worth_waiting(wait):
                break
            wait = min(max(wait or 0.0, _SHORTEST_WAIT), _LONGEST_WAIT)
            if self._heartbeat.is_holding:  # the walks in hand may be over in a moment
                wait, soon = min(wait, soon), 2 * soon
            await self._clock.sleep(wait)
        return bool(self._waiting)

    async def claims(self) -> AsyncIterator[Claim]:
        """Yield one task after another, until none is due or the turn is over."""
        while await self.look():
            while self._waiting:
                if self._is_over():
                    return
                yield self._waiting.take()
            if self._is_over():
                return

    async def give_back(self, handover: Handover) -> None:
        """Free the tasks that were claimed and not walked."""
        await self._waiting.give_back(self._waiting.take_all(), handover)

    def _is_over(self) -> bool:
        return self.turn.until is not None and self._clock.monotonic() >= self.turn.until

    def _is_worth_waiting(self, wait: float | None) -> bool:
        until = self.turn.until
        if wait is None or not (self.turn.waits or self._heartbeat.is_holding):
            return False
        return until is None or self._clock.monotonic() + wait < until

    def _claim(self) -> float | None:
        """Claim; where nothing is due, return in how many seconds something will be.

        What was claimed is noted here, in the worker thread: it must be given back in any case.
        """
        with self._database.transaction(write=False) as tx:
            due_at = self._due_at or tx.now
            next_due = read_next_due(tx, self.kind)
            if next_due is None or next_due > due_at:
                return self._wait(next_due, due_at)
        with self._database.transaction() as tx:
            leases = claim_due(
                tx, self.kind, self._worker, self._lease_seconds, most=self._most, due_at=self._due_at
            )
            claims = with_checkpoints(tx, leases)
        self._waiting.add(claims)
        return None if claims else _LOOK_AGAIN

    def _wait(self, next_due: datetime | None, due_at: datetime) -> float | None:
        wait = None if next_due is None or not self.turn.waits else (next_due - due_at).total_seconds()
        if self._heartbeat.is_holding:
            wait = min(wait or _LOOK_AGAIN, _LOOK_AGAIN)
        return wait
