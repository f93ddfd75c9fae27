"""Which events of a page are new, which changed, which the same? Values in, a PagePlan out.

The rules are DESIGN section 3's. An event's key is its group and timestamp within its task. Equal
key and equal payload is one event, wherever it stands. What is left over within the page's block
(the stored rows from the walk's cursor to the highest row matched on the page; on the last page,
to the end) pairs in order as changes. Surplus payloads are new rows, surplus rows are left alone.

Changes at a page's end lie behind the highest row matched (of a page that is changed throughout, all
of them do). Where such may be, the block reaches on to the first row that the page behind serves, so
that page has to be known, and until it is, the plan is undecided. If that page serves no stored row
either (upstream spells its payloads anew), the block reaches on as far as the keys agree one by one.

Equal digests are equal payloads. Payloads that only may be equal (same key, another digest) are
compared by their canonical digests, which `sync/canonical.py` makes of the payloads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import TypeAlias

import msgspec

from maia_sync.model import NO_TIMESTAMP, ChangedRow, Event, EventKey, NewRow, PagePlan, StoredRow, Window
from maia_sync.page_events import NewRows, PageEvents
from maia_sync.sync.order import Placer, places_at_the_end

_ENDLESS = 2**63 - 1

RowName: TypeAlias = tuple[str, int, int]
"""(group_id, timestamp, ordinal): a row within its task."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known when a page is compared with the rows that are stored."""

    events: Sequence[Event]
    newest_first: bool = False
    """Places run against the reading order (see model.TaskLog)."""
    cursor_seq: int
    window: Window
    looked_up: Sequence[StoredRow] = ()
    """Rows outside the window whose keys occur on the page."""
    next_ordinals: Mapping[EventKey, int] = {}
    """For keys that are stored: the first free ordinal."""
    canonicals: Mapping[RowName, bytes] = {}
    """Canonical digests of rows that carry none, for keys met with another digest."""
    last_page: bool
    following: Sequence[Event] | None = None
    """The events of the page behind this one, if they are known yet."""


def name_of(row: StoredRow) -> RowName:
    """Return what names a row within its task."""
    return row.group_id, row.timestamp, row.ordinal


def is_repetition(events: Sequence[Event], window: Window) -> bool:
    """Tell whether the page is, event by event, what is stored behind the cursor: an idle poll."""
    rows = window.rows[: len(events)]
    if len(rows) < len(events):
        return False
    page = PageEvents.of(events)
    return (
        page.digests == [row.digest for row in rows]
        and page.timestamps == [row.timestamp for row in rows]
        and page.group_ids == [row.group_id for row in rows]
        and not any(row.vanished for row in rows)
    )


def unmatched_events(events: Sequence[Event], window: Window) -> Sequence[Event]:
    """Return the page's events that no row of the window equals by digest."""
    if not window.rows:
        return events
    stored = {(row.group_id, row.timestamp, row.digest) for row in window.rows}
    return [event for event in events if (event.group_id, event.timestamp, event.digest) not in stored]


def plan_all_new(question: Question) -> PagePlan | None:
    """Plan a page of a backfill, all of whose keys are taken to be new; None if one comes twice.

    What `decide` would say where nothing is stored behind the cursor nor under these keys, for a
    fraction of its cost.
    """
    events = PageEvents.of(question.events)
    if len({*zip(events.group_ids, events.timestamps, strict=True)}) != len(events):
        return None
    places = places_at_the_end(question.cursor_seq, len(events))
    return PagePlan(
        new=NewRows(events, places),
        changed=[],
        returned=[],
        canonicals=[],
        matched=[],
        ending=[],
        unchanged=0,
        top_seq=places[-1],
    )


def decide(question: Question, canonical_of: Callable[[Event], bytes]) -> PagePlan:
    """Decide what one page comes to. `canonical_of` is a pure function of an event's payload."""
    matching = _Matching(question, canonical_of)
    matching.match_equal()
    changed = matching.pair_changes()
    new = matching.place_new()
    matched = list(matching.matched_rows.values())
    returned = [row for row in matched if row.vanished]
    changed_names = {name_of(change.row) for change in changed}
    return PagePlan(
        new=new,
        changed=changed,
        returned=[row for row in returned if name_of(row) not in changed_names],
        canonicals=matching.canonicals_to_store(changed_names),
        undecided=matching.undecided,
        matched=matched,
        ending=matching.ending(changed_names),
        unchanged=len(question.events) - len(new) - len(changed),
        top_seq=max([question.cursor_seq, *(row.seq for row in matched), *(row.seq for row in new)]),
    )


class _Matching:
    """The page's events and the rows they turned out to be, step by step."""

    def __init__(self, question: Question, canonical_of: Callable[[Event], bytes]) -> None:
        self._question = question
        self._canonical_of = canonical_of
        self._rows: dict[EventKey, list[StoredRow]] = {}
        known = {name_of(row): row for row in (*question.looked_up, *question.window.rows)}
        for row in known.values():
            self._rows.setdefault((row.group_id, row.timestamp), []).append(row)
        self._slots: list[StoredRow | Event] = []
        """The page in order: the row that each event is, or an event that is none (yet)."""
        self._slot_of: dict[int, int] = {}
        self._fresh: dict[EventKey, list[Event]] = {}
        """Distinct payloads that equal no row, by key, in page order."""
        self.matched_rows: dict[RowName, StoredRow] = {}
        self._canonical_by_row: dict[RowName, bytes] = {}
        self._canonical_by_event: dict[int, bytes] = {}
        self.undecided = False

    def match_equal(self) -> None:
        """Find the events that are stored already; keep each other payload once."""
        by_digest = {(*key, row.digest): row for key, rows in self._rows.items() for row in reversed(rows)}
        fresh_digests: set[tuple[str, int, bytes]] = set()
        for event in self._question.events:
            key = (event.group_id, event.timestamp)
            payload = (*key, event.digest)
            row = by_digest.get(payload) or self._equal_row(key, event)
            if row is not None:
                by_digest[payload] = row
                if self._match(row):
                    self._slots.append(row)
            elif payload not in fresh_digests:
                fresh_digests.add(payload)
                if not self._equal_fresh(key, event):
                    self._fresh.setdefault(key, []).append(event)
                    self._slot_of[id(event)] = len(self._slots)
                    self._slots.append(event)

    def _match(self, row: StoredRow) -> bool:
        """Note that the page serves this row; tell whether it is the first time."""
        first = name_of(row) not in self.matched_rows
        self.matched_rows[name_of(row)] = row
        return first

    def _equal_row(self, key: EventKey, event: Event) -> StoredRow | None:
        rows = self._rows.get(key)
        if not rows:
            return None
        wanted = self._event_canonical(event)
        return next((row for row in rows if self._row_canonical(row) == wanted), None)

    def _equal_fresh(self, key: EventKey, event: Event) -> bool:
        others = self._fresh.get(key)
        if not others:
            return False
        wanted = self._event_canonical(event)
        return any(self._event_canonical(other) == wanted for other in others)

    def _row_canonical(self, row: StoredRow) -> bytes | None:
        canonical = row.canonical or self._question.canonicals.get(name_of(row))
        if canonical is not None:
            self._canonical_by_row[name_of(row)] = canonical
        return canonical

    def _event_canonical(self, event: Event) -> bytes:
        canonical = self._canonical_by_event.get(id(event))
        if canonical is None:
            canonical = self._canonical_by_event[id(event)] = self._canonical_of(event)
        return canonical

    def pair_changes(self) -> list[ChangedRow]:
        """Pair left-over rows of the block with left-over payloads of the same key, in order."""
        cursor, end = self._question.cursor_seq, self._block_end()
        changed: list[ChangedRow] = []
        for key, payloads in self._fresh.items():
            left_over = [
                row
                for row in self._rows.get(key, ())
                if row.seq > cursor and name_of(row) not in self.matched_rows and row.seq <= end
            ]
            # Live rows first: a vanished one is what upstream took away, not what it edited.
            left_over.sort(key=attrgetter("vanished", "seq", "ordinal"))
            for row, event in zip(left_over, payloads, strict=False):
                alone = len(self._rows[key]) == 1 and len(payloads) == 1 and row.canonical is None
                changed.append(
                    ChangedRow(
                        row=row, event=event, canonical=None if alone else self._event_canonical(event)
                    )
                )
                self._slots[self._slot_of[id(event)]] = row
            del payloads[: len(left_over)]
        for change in changed:
            self._match(change.row)
        return changed

    def _block_end(self) -> int:
        """Return the highest seq that belongs to the page's block."""
        question = self._question
        if question.last_page:
            return _ENDLESS
        top = max((row.seq for row in self.matched_rows.values()), default=question.cursor_seq)
        behind = [row for row in question.window.rows if row.seq > top]
        if not any((row.group_id, row.timestamp) in self._fresh for row in behind):
            return top
        if question.following is None:
            self.undecided = True
            return top
        for row in behind:
            if self._is_served_behind(row, question.following):
                return row.seq - 1
        return self._agreeing_end(top, behind)

    def _is_served_behind(self, row: StoredRow, following: Sequence[Event]) -> bool:
        """Tell whether the page behind serves a row, in whatever spelling.

        Where a row is alone under an instant of its own, and this page brings nothing for it, its key
        is enough: then it is there, changed or not.
        """
        key = (row.group_id, row.timestamp)
        of_key = [event for event in following if (event.group_id, event.timestamp) == key]
        if any(event.digest == row.digest for event in of_key):
            return True
        if key not in self._fresh and row.timestamp != NO_TIMESTAMP and len(self._rows[key]) == 1:
            return bool(of_key)
        canonical = self._row_canonical(row)
        return canonical is not None and any(self._event_canonical(event) == canonical for event in of_key)

    def _agreeing_end(self, top: int, behind: list[StoredRow]) -> int:
        """Follow the page's last payloads and the rows behind the block while their keys agree.

        Payloads whose keys are not stored at all are new ones, and no change of any row.
        """
        trailing = takewhile(lambda slot: isinstance(slot, Event), reversed(self._slots))
        stored = [event for event in trailing if (event.group_id, event.timestamp) in self._rows]
        for event, row in zip(reversed(stored), behind, strict=False):
            key = (event.group_id, event.timestamp)
            alone = len(self._rows[key]) == 1 and len(self._fresh.get(key, ())) == 1
            if event.timestamp == NO_TIMESTAMP or key != (row.group_id, row.timestamp) or not alone:
                break
            top = row.seq
        return top

    def ending(self, changed: set[RowName]) -> list[StoredRow]:
        """Return the rows with which the page ends, in page order, none of them new or changed."""
        ending: list[StoredRow] = []
        for slot in reversed(self._slots):
            if isinstance(slot, Event) or name_of(slot) in changed:
                break
            ending.append(slot)
        return ending[::-1]

    def place_new(self) -> list[NewRow]:
        """Give each surplus payload an ordinal and a place in the task's order."""
        question = self._question
        placer = Placer(
            question.cursor_seq, question.window, list(question.looked_up), newest_first=question.newest_first
        )
        new: list[NewRow] = []
        ordinals = dict(question.next_ordinals)
        lower, run = question.cursor_seq, []
        for slot in self._slots:
            if isinstance(slot, Event):
                run.append(slot)
                continue
            if slot.seq <= question.cursor_seq:
                continue  # an earlier page's event, told again: what follows belongs behind this page's own
            new += self._placed(placer, lower, run, ordinals, open_run=False)
            lower, run = slot.seq, []
        return new + self._placed(placer, lower, run, ordinals, open_run=not question.last_page)

    def _placed(
        self, placer: Placer, lower: int, run: list[Event], ordinals: dict[EventKey, int], *, open_run: bool
    ) -> list[NewRow]:
        if not run:
            return []
        placed: list[NewRow] = []
        for event, (seq, tie) in zip(run, placer.place(lower, len(run), open_run=open_run), strict=True):
            key = (event.group_id, event.timestamp)
            ordinal = ordinals.get(key, 0)
            ordinals[key] = ordinal + 1
            shared = ordinal > 0 or len(self._fresh[key]) > 1
            canonical = self._event_canonical(event) if shared else None
            placed.append(NewRow(event=event, ordinal=ordinal, seq=seq, canonical=canonical, tie=tie))
        return placed

    def canonicals_to_store(self, changed: set[RowName]) -> list[tuple[StoredRow, bytes]]:
        """Return the rows whose key got a second payload just now, with their canonical digests."""
        return [
            (row, self._canonical_by_row[name_of(row)])
            for key, payloads in self._fresh.items()
            if payloads
            for row in self._rows.get(key, ())
            if row.canonical is None and name_of(row) not in changed
        ]
