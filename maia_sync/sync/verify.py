"""Does the copy equal upstream? A reconcile that only compares: no lease, no write.

Stored payloads are read and hashed anew, so a row that was altered behind maia-sync's back is a
difference too; of payloads that were pruned or erased, the keyed digests are compared. Memory holds a
page and its window of rows, ranges of seq, and the first thousand differences.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import GiveUpTask, UpstreamUnreachable
from maia_sync.maia.element import digest_of
from maia_sync.maia.timestamp import NOWHERE, read_instant
from maia_sync.model import (
    Cursor,
    Difference,
    PagePlan,
    RunStarted,
    SeenRows,
    StoredRow,
    TaskLog,
    VerifyReport,
    WalkReport,
    Window,
)
from maia_sync.store import events as event_store
from maia_sync.store.checkpoints import read_checkpoint
from maia_sync.store.quarantined import is_quarantined
from maia_sync.store.tasks import count_tasks
from maia_sync.sync.canonical import canonical_of_payload
from maia_sync.sync.compare import MARGIN, look_up, read_window
from maia_sync.sync.crew import Places, task_ids_to_walk, work_through
from maia_sync.sync.erased_again import decide_knowing
from maia_sync.sync.identity import Question, RowName, name_of, unmatched_events
from maia_sync.sync.loop_guard import LoopGuard
from maia_sync.sync.order import add_seen
from maia_sync.sync.position import LOG_START
from maia_sync.sync.run import failed_walk
from maia_sync.sync.silence import Silence
from maia_sync.sync.source import PageSource

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import DifferenceKind, Event, Observer, Page
    from maia_sync.store.database import Database, Transaction
    from maia_sync.sync.crew import Place
    from maia_sync.sync.handover import Handover

MOST_LISTED = 1000


class Verification:
    """One comparison of tasks with upstream; `run()` once."""

    def __init__(
        self,
        *,
        client: MaiaClient,
        database: Database,
        handover: Handover,
        concurrency: int,
        page_size: int,
        observers: Sequence[Observer],
    ) -> None:
        self._page_size = page_size
        self._client = client
        self._database = database
        self._handover = handover
        self._observers = observers
        self._differences: list[Difference] = []
        self._difference_count = 0
        self._tasks = self._pages = self._events = 0
        self._failed: list[WalkReport] = []
        self._silence = Silence(concurrency=concurrency, answers=lambda: client.answers)
        self._concurrency = concurrency

    async def run(self, task_ids: Sequence[str], stop: asyncio.Future[int]) -> VerifyReport:
        """Compare the given tasks, or every active one. Raises OperatorMustAct."""
        tasks = len(task_ids) or await self._handover.run(self._count)
        self._tell(RunStarted(run_id=0, kind="verify", tasks=tasks))
        stopped = await work_through(
            task_ids_to_walk(self._database, self._handover, task_ids),
            self._verify,
            places=Places(self._concurrency),
            stop=stop,
        )
        unreachable = self._silence.unanswered(self._tasks)
        if unreachable is not None and stopped is None:
            raise UpstreamUnreachable(unreachable)
        return VerifyReport(
            tasks=self._tasks,
            failed=tuple(self._failed),
            pages=self._pages,
            requests=self._client.requests,
            events=self._events,
            difference_count=self._difference_count,
            differences=tuple(self._differences),
            interrupted_by=stopped,
        )

    def _count(self) -> int:
        with self._database.transaction(write=False) as tx:
            return count_tasks(tx).get("active", 0)

    async def _verify(self, task_id: str, _: Place) -> None:
        report = WalkReport(task_id=task_id, kind="reconcile")
        try:
            pages = await self._compare_log(task_id)
            report = msgspec.structs.replace(report, pages=pages)
        except GiveUpTask as error:
            report = failed_walk(report, error)
            self._failed.append(report)
            self._silence.note_failure(error)
        self._tasks += 1
        self._tell(report)
        self._silence.require_no_outage()

    async def _compare_log(self, task_id: str) -> int:
        """Walk one log from its start and compare each page; returns how many there were."""
        log = await self._handover.run(partial(self._log_of, task_id))
        source = PageSource(self._client, task_id, page_size=self._page_size)
        cursor = LOG_START
        seen = SeenRows()
        guard = LoopGuard()
        pages = 0
        while True:
            page = await source.page_at(cursor)
            pages += 1
            compared = await self._handover.run(partial(self._compare, log, cursor, seen, page, pages))
            advanced = compared.brought and (compared.seen != seen or bool(compared.differences))
            seen = compared.seen
            self._note(compared.differences)
            self._pages += 1
            self._events += page.element_count
            if page.next_token is None or (page.next_token == cursor.page_token and not advanced):
                break
            guard.passed(cursor.page_token, page, advanced=advanced)
            cursor = Cursor(page_token=page.next_token, compare_seq=compared.top_seq, limit=page.limit)
        count, listed = await self._handover.run(partial(self._not_served, log, seen))
        self._note(listed)
        self._difference_count += count - len(listed)
        return pages

    def _log_of(self, task_id: str) -> TaskLog:
        with self._database.transaction(write=False) as tx:
            checkpoint = read_checkpoint(tx, task_id)
        return TaskLog(task_id=task_id, newest_first=checkpoint is not None and checkpoint.newest_first)

    def _compare(self, log: TaskLog, cursor: Cursor, seen: SeenRows, page: Page, number: int) -> _Compared:
        task_id = log.task_id
        with self._database.transaction(write=False) as tx:
            window = read_window(tx, log, cursor.compare_seq, len(page.events) + MARGIN, page.events)
            if window.rows:
                payloads = event_store.read_payloads_between(tx, log, window.rows[0].seq, window.rows[-1].seq)
                window = msgspec.structs.replace(window, rows=_as_stored(window.rows, payloads)[0])
            plan = _plan(tx, log, page, cursor, window)
            lost = [element for element in page.quarantined if not is_quarantined(tx, task_id, element)]
        tell = partial(_difference, task_id, number)
        return _Compared(
            top_seq=max([cursor.compare_seq, *(row.seq for row in plan.matched)]),
            seen=add_seen(seen, cursor.compare_seq, window, plan.matched, []),
            brought=bool(plan.matched or plan.new),
            differences=[
                *(tell("not stored", row.event, None) for row in plan.new),
                *(tell("stored otherwise", change.event, change.row.ordinal) for change in plan.changed),
                *(_marked(task_id, number, row) for row in plan.returned),
                *(tell("not quarantined", None, None) for _ in lost),
            ],
        )

    def _not_served(self, log: TaskLog, seen: SeenRows) -> tuple[int, list[Difference]]:
        with self._database.transaction(write=False) as tx:
            count = event_store.count_unseen(tx, log, seen)
            listed = event_store.read_unseen(tx, log, seen, limit=MOST_LISTED)
        return count, [
            Difference(
                task_id=log.task_id,
                kind="not served",
                group_id=row.group_id,
                timestamp_text=row.timestamp_text,
                ordinal=row.ordinal,
                page=None,
            )
            for row in listed
        ]

    def _note(self, differences: Sequence[Difference]) -> None:
        self._difference_count += len(differences)
        self._differences += differences[: MOST_LISTED - len(self._differences)]

    def _tell(self, observation: RunStarted | WalkReport) -> None:
        for observer in self._observers:
            observer(observation)


class _Compared(msgspec.Struct, frozen=True, kw_only=True):
    top_seq: int
    seen: SeenRows
    brought: bool
    """The page served an event that is stored, or one that is not and would be."""
    differences: list[Difference]


def _plan(tx: Transaction, log: TaskLog, page: Page, cursor: Cursor, window: Window) -> PagePlan:
    """Decide what the page would come to against payloads as they are stored, hashed anew."""
    question = Question(
        events=page.events,
        newest_first=log.newest_first,
        cursor_seq=cursor.compare_seq,
        window=window,
        last_page=page.next_token is None,
        following=(),
    )
    unmatched = unmatched_events(page.events, window)
    if unmatched:
        question = look_up(tx, log, question, unmatched)
        payloads = event_store.read_payloads(tx, log.task_id, question.looked_up)
        looked_up, canonicals = _as_stored(question.looked_up, payloads)
        question = msgspec.structs.replace(
            question, looked_up=looked_up, canonicals={**question.canonicals, **canonicals}
        )
    return decide_knowing(tx, log, question)


def _as_stored(
    rows: Sequence[StoredRow], payloads: Mapping[RowName, event_store.Payload]
) -> tuple[list[StoredRow], dict[RowName, bytes]]:
    """Replace what rows say of their payloads by what the payloads say themselves, where they are there."""
    honest: list[StoredRow] = []
    canonicals: dict[RowName, bytes] = {}
    for row in rows:
        payload = payloads[name_of(row)]
        if payload.removed:
            honest.append(row)
            continue
        instant = NOWHERE if payload.timestamp_text is None else read_instant(payload.timestamp_text)
        digest = digest_of(payload.data, payload.extra, instant.payload_part)
        honest.append(msgspec.structs.replace(row, digest=digest, canonical=None))
        if row.canonical is not None or digest != row.digest:
            canonicals[name_of(row)] = canonical_of_payload(
                payload.data, payload.extra, payload.timestamp_text
            )
    return honest, canonicals


def _difference(
    task_id: str, page: int, kind: DifferenceKind, event: Event | None, ordinal: int | None
) -> Difference:
    return Difference(
        task_id=task_id,
        kind=kind,
        group_id=event.group_id if event else None,
        timestamp_text=event.timestamp_text if event else None,
        ordinal=ordinal,
        page=page,
    )


def _marked(task_id: str, page: int, row: StoredRow) -> Difference:
    return Difference(
        task_id=task_id,
        kind="marked vanished",
        group_id=row.group_id,
        timestamp_text=None,
        ordinal=row.ordinal,
        page=page,
    )
