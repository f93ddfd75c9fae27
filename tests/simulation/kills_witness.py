"""Is anything lost, doubled or made up? The database of killed processes against every page that was served.

Nothing of maia_sync is used: plain drivers read the tables, and tests/oracle.py tells events apart.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.oracle import Copy, Told, tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.simulation.kills_upstream import Logs, WatchedWorld

Mark = Any
"""What an element is known by: an event's identity, or the raw bytes of what is no event."""


@dataclass(kw_only=True)
class Findings:
    """What the witness has found so far."""

    compared: int = 0
    """Rows, revisions and quarantined elements that were compared, one by one."""
    lost: int = 0
    """Events that were stored and are no more, or that the log has and the copy has not."""
    duplicated: int = 0
    """Rows of an event that has one already."""
    strange: int = 0
    """What is stored and was never served like that, or is not marked and not in the log."""
    ahead: int = 0
    """Stored page tokens to which no chain of pages leads whose elements are all stored."""
    torn: int = 0
    """What is stored although no page that it was served on is stored whole."""
    trouble: str | None = None
    """The first thing that was wrong."""

    def proved(self, seed: int, began: float, where: str = "") -> dict[str, Any]:
        """Return the fields of a Proof."""
        counts = ("compared", "lost", "duplicated", "strange", "ahead", "torn")
        return {
            "seed": seed,
            "seconds": time.monotonic() - began,
            "trouble": self.trouble and f"seed {seed}{where}: {self.trouble}",
            **{name: getattr(self, name) for name in counts},
        }

    def note(self, kind: str, number: int, sentence: str) -> None:
        """Count what is wrong, if anything is."""
        if number:
            setattr(self, kind, getattr(self, kind) + number)
            self.wrong(f"{number} {kind}: {sentence}")

    def wrong(self, sentence: str) -> None:
        """Keep the first thing that was wrong."""
        self.trouble = self.trouble or sentence


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was proved about the copy, whatever was done to the processes or to what they stand on."""

    seed: int
    seconds: float
    compared: int
    """Events that were compared."""
    lost: int
    duplicated: int
    strange: int
    ahead: int
    torn: int
    trouble: str | None
    """The first thing that went wrong, if anything did: it ended early then."""

    @property
    def is_well(self) -> bool:
        """Tell whether nothing at all was wrong."""
        wrong = self.lost or self.duplicated or self.strange or self.ahead or self.torn
        return self.trouble is None and not wrong

    def verdict(self, of: str) -> list[tuple[str, str]]:
        """Return the rows of a table that say what was proved."""
        rows = [
            (f"{of}: events compared", f"{self.compared:,}"),
            (f"{of}: events lost", f"{self.lost:,}"),
            (f"{of}: events duplicated", f"{self.duplicated:,}"),
        ]
        return rows if self.is_well else [*rows, (f"{of}: **not well**", str(self.trouble))]


@dataclass
class StoredTask:
    """What the database holds of one task."""

    rows: list[tuple[Told, int, int, bool]] = field(default_factory=list)
    """(what it says, ordinal, revision, vanished), in reading order."""
    revisions: list[tuple[Told, int, int]] = field(default_factory=list)
    """(what it said, ordinal, revision), by revision."""
    quarantined: list[bytes] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """Page tokens from which a walk may go on."""

    @property
    def number(self) -> int:
        """How many elements it holds."""
        return len(self.rows) + len(self.quarantined)


def read_stored(copy: Copy, where: str = "") -> dict[str, StoredTask]:
    """Return what is stored of every task that `where` chooses."""
    text = "::text" if copy.is_postgresql else ""
    payload = f'group_id, "timestamp", timestamp_text, data{text}, extra{text}, ordinal, revision'
    stored: dict[str, StoredTask] = defaultdict(StoredTask)
    for task, *told, ordinal, revision, vanished in copy.ask(
        f"SELECT CAST(task_id AS TEXT), {payload}, vanished_at IS NOT NULL FROM task_event {where} "
        "ORDER BY task_id, seq, first_seen_at, ordinal"
    ):
        stored[task].rows.append((Told(*told), ordinal, revision, bool(vanished)))
    for task, *told, ordinal, revision in copy.ask(
        f"SELECT CAST(task_id AS TEXT), {payload} FROM task_event_revision {where} ORDER BY revision"
    ):
        stored[task].revisions.append((Told(*told), ordinal, revision))
    for task, raw in copy.ask(f"SELECT CAST(task_id AS TEXT), raw FROM quarantine {where}"):
        stored[task].quarantined.append(bytes(raw))
    for task, poll, reconcile, gaps in copy.ask(
        f"SELECT CAST(task_id AS TEXT), page_token, reconcile_token, gaps FROM checkpoint {where}"
    ):
        tokens = [poll, reconcile, *(gap["cursor"]["page_token"] for gap in json.loads(gaps or "[]"))]
        stored[task].tokens += [token for token in tokens if token is not None]
    return stored


class Witness:
    """Saw everything that was served, and every state in which a kill left the database."""

    def __init__(self, logs: Logs, findings: Findings | None = None) -> None:
        self.findings = findings or Findings()
        self._logs = logs
        self._world: WatchedWorld = logs.world
        self._held: dict[str, set[Mark]] = {}
        self._told: dict[bytes, Told | None] = {}
        self._identities: dict[Told, Mark] = {}
        self._pages: dict[str, list[tuple[str | None, str | None, frozenset[Mark]]]] = {}
        self._served: dict[str, set[Told | bytes]] = {}

    def check(self, copy: Copy, *, later: bool = True) -> dict[str, StoredTask]:
        """Check what must hold after any kill, for tasks that are tracked; returns what is stored of them.

        `later`: the database is at least as far as at the last check; a copy of it may not be.
        """
        tracked = "WHERE task_id IN (SELECT task_id FROM task WHERE status <> 'untracked')"
        stored = read_stored(copy, tracked)
        for task in self._logs.active:
            self._take_in(task)
            self._check(task, stored[task], later=later)
        return stored

    def require_equal(self, copy: Copy, tasks: Iterable[str] | None = None) -> None:
        """Check that the copy is the logs, event by event; those that only grew, in order and to the letter.

        `tasks`: None for every one that ever was, otherwise these alone.
        """
        stored = read_stored(copy)
        for task in self._world.logs if tasks is None else tasks:
            self._take_in(task)
            self._compare(task, stored[task], self._world.logs[task].events)

    def _compare(self, task: str, held: StoredTask, events: Sequence[bytes]) -> None:
        current = [self._mark(told) for told, _, _, vanished in held.rows if not vanished]
        wanted = {self._mark(told) for each in events if (told := self._tell(each)) is not None}
        odd = {each for each in events if self._tell(each) is None}
        missing = (wanted - set(current)) | (odd - set(held.quarantined))
        self.findings.compared += len(current) + len(held.quarantined)
        self.findings.note("lost", len(missing), f"events of the log of {task} are no current rows")
        surplus = set(current) - wanted
        self.findings.note("strange", len(surplus), f"current rows of {task} are not in its log")
        if task in self._logs.growing and not missing:
            told = [told for each in events if (told := self._tell(each)) is not None]
            if [row[0] for row in held.rows] != told:
                self.findings.wrong(
                    f"the rows of {task} are not in the order, or not in the letters, of its log"
                )

    def _check(self, task: str, stored: StoredTask, *, later: bool) -> None:
        findings, served = self.findings, self._served[task]
        told = [row[0] for row in stored.rows] + [revision[0] for revision in stored.revisions]
        findings.compared += len(told) + len(stored.quarantined)
        identities = [self._mark(row[0]) for row in stored.rows]
        findings.note("duplicated", len(identities) - len(set(identities)), f"rows of {task}")
        findings.note(
            "duplicated", len(stored.quarantined) - len(set(stored.quarantined)), f"quarantined of {task}"
        )
        unserved = sum(each not in served for each in (*told, *stored.quarantined))
        findings.note("strange", unserved, f"what {task} holds was never served like that")
        held = {*map(self._mark, told), *stored.quarantined}
        if later:
            gone = self._held.get(task, set()) - held
            findings.note(
                "lost", len(gone), f"{task} held them before the kill, such as {next(iter(gone), None)}"
            )
            self._held[task] = held
        whole = [page for page in self._pages[task] if page[2] <= held]
        reached = _reached(whole)
        far = [token for token in stored.tokens if token not in reached]
        findings.note("ahead", len(far), f"the checkpoint of {task} is ahead of its rows")
        halves = held.difference(*(marks for _, _, marks in whole))
        findings.note("torn", len(halves), f"{task} holds them, but no whole page of theirs")
        if not _has_whole_history(stored):
            findings.wrong(f"the ordinals or revisions of {task} have gaps")

    def _take_in(self, task: str) -> None:
        """Take in the pages that have been served since."""
        pages, served = self._pages.setdefault(task, []), self._served.setdefault(task, set())
        for page in list(self._world.pages.get(task, ()))[len(pages) :]:
            marks = set()
            for element in page.elements:
                told = self._tell(element)
                served.add(element if told is None else told)
                marks.add(element if told is None else self._mark(told))
            pages.append((page.asked, page.following, frozenset(marks)))

    def _tell(self, element: bytes) -> Told | None:
        if element not in self._told:
            self._told[element] = tell(element)
        return self._told[element]

    def _mark(self, told: Told) -> Mark:
        if told not in self._identities:
            self._identities[told] = told.identity
        return self._identities[told]


def _reached(whole: Sequence[tuple[str | None, str | None, frozenset[Mark]]]) -> set[str | None]:
    """Return the tokens to which these pages lead, from the log's start on."""
    reached: set[str | None] = {None}
    grows = True
    while grows:
        grows = False
        for asked, following, _ in whole:
            if asked in reached and following not in reached:
                reached.add(following)
                grows = True
    return reached


def _has_whole_history(stored: StoredTask) -> bool:
    """Tell whether ordinals and revisions are numbered from 0 without gaps."""
    ordinals: dict[tuple[str, int], list[int]] = defaultdict(list)
    for told, ordinal, _, _ in stored.rows:
        ordinals[told.group_id, told.timestamp].append(ordinal)
    chains = Counter((told.group_id, told.timestamp, ordinal) for told, ordinal, _ in stored.revisions)
    numbered = {
        (told.group_id, told.timestamp, ordinal, number) for told, ordinal, number in stored.revisions
    }
    rows = {(told.group_id, told.timestamp, ordinal): revision for told, ordinal, revision, _ in stored.rows}
    return (
        all(sorted(each) == list(range(len(each))) for each in ordinals.values())
        and all(chains.get(key, 0) == revision for key, revision in rows.items())
        and all((*key, number) in numbered for key, revision in rows.items() for number in range(revision))
        and chains.keys() <= rows.keys()
    )
