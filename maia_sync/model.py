"""Which values travel between the rooms? All frozen, keyword-only, without behaviour of their own.

They are msgspec structs rather than dataclasses because an Event is made for every event of
every page, and a frozen dataclass costs several times as much to make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

NO_TIMESTAMP = -(2**63)
"""The one place in the key that absent, unreadable and out-of-range timestamps share."""

WalkKind = Literal["poll", "reconcile", "both"]
TaskStatus = Literal["active", "paused", "forbidden", "missing", "untracked"]
WALKED_STATUSES: tuple[TaskStatus, ...] = ("active", "forbidden", "missing")
"""The tasks that are polled; those that upstream withholds less often."""
PausedBy = Literal["hand", "source"]
"""Who paused a task: a person, or the source that no longer lists it."""
TaskSource = Literal["tasks_file", "discovery_command"]
LogOrder = Literal["oldest-first", "newest-first", "newest-first?"]
"""How a log is served; the question mark says that too little was seen of it to rely on that."""
EventKey: TypeAlias = tuple[str, int]
"""(group_id, timestamp): what identifies an event within its task, before its payload."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One element of `results` that can be stored as an event."""

    group_id: str
    """The group, or "" for none, or `sha256:` + hex for a value that cannot stand in a key."""
    timestamp: int
    """Nanoseconds since the Unix epoch, or NO_TIMESTAMP."""
    timestamp_text: str | None
    """The timestamp as it came, or None where it was absent, null or no storable string."""
    occurred_at: str | None
    """The same instant as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC; None if unreadable."""
    data: str | None
    """The raw JSON text of `data`; None if absent (JSON null is the text `null`)."""
    extra: str | None
    """Unknown fields as raw `"name":value` slices in braces, or None."""
    digest: bytes
    """SHA-256 of data and extra (see maia/element.py); 32 bytes."""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One element of `results` that cannot be stored as an event, byte for byte."""

    raw: bytes
    reason: str
    digest: bytes
    """SHA-256 of raw."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One response of GET messages."""

    events: Sequence[Event]
    quarantined: list[Quarantined]
    next_token: str | None
    """None at the end of the log."""
    size_bytes: int
    limit: int = 0
    """How many elements it was asked for at most."""

    @property
    def element_count(self) -> int:
        """Elements of `results`, quarantined ones included."""
        return len(self.events) + len(self.quarantined)


class OutgoingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a task, as SendMessageRequest of the contract has it."""

    message: str
    agent: str | None = None
    """The agent's name; without one there is neither mode nor branch."""
    mode: Literal["PLAN", "ACT"] | None = None
    branch: str | None = None
    allowed_tools: tuple[str, ...] = ()
    """Names of the tools that the agent may use from now on."""


class TaskLog(msgspec.Struct, frozen=True, kw_only=True):
    """A task's stored rows, in the order in which upstream serves its log.

    Rooms that walk know rows by their *place*, which grows along the walk. For a log served
    oldest-first that is the stored `seq`, for one served newest-first it is `seq` with its sign
    turned: `seq` itself always grows from old to new.
    """

    task_id: str
    newest_first: bool = False


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a walk goes on: the token to ask for, and the place from which that page is compared."""

    page_token: str | None
    compare_seq: int
    """A place (see TaskLog)."""
    limit: int | None = None
    """The limit of the request that brought the token: some tokens mean something else under another.

    None for the log's start, and where it was not noted.
    """


class SeenRows(msgspec.Struct, frozen=True, kw_only=True):
    """What a reconcile has been served, as compact ranges of places.

    A range (low, high) says that every row with low <= place <= high was served. Rows that share
    their place with a row that was not served stand in `tied` one by one.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    tied: tuple[tuple[int, str, int, int], ...] = ()
    """(place, group_id, timestamp, ordinal)"""
    run_id: int | None = None
    """The run that began the reconcile."""


class Reconcile(msgspec.Struct, frozen=True, kw_only=True):
    """A reconcile on its way: its own cursor and what it has seen so far."""

    cursor: Cursor
    seen: SeenRows = SeenRows()
    started_at: datetime


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a newest-first log that an interrupted walk has left out."""

    cursor: Cursor
    """Where it begins: the page to be asked for, and the place of the last row in front of it."""
    floor: int | None
    """The place of the first row stored behind it; None if nothing is: it ends with the log."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next poll of a task starts, and where its reconcile stands."""

    cursor: Cursor
    """Of a newest-first log always its start."""
    log_order: LogOrder | None = None
    """None as long as nothing tells it: rows are then stored as of a log served oldest-first."""
    gaps: tuple[Gap, ...] = ()
    """What of a newest-first log is not stored yet, from new to old."""
    quiet_polls: int = 0
    """Idle polls in a row that read many known events again; -1: its last page cannot be made shorter."""
    tail_elements: int = 0
    """How many elements the page had that the latest of these polls read."""
    end_reached_at: datetime | None = None
    reconcile: Reconcile | None = None
    doubt: SeenRows | None = None
    """What the last reconcile saw, if it would have marked more than a tenth of the rows."""
    reconciled_at: datetime | None = None

    @property
    def newest_first(self) -> bool:
        """Tell whether the rows' places run against their seq (see TaskLog)."""
        return self.log_order in ("newest-first", "newest-first?")

    @property
    def order_is_sure(self) -> bool:
        """Tell whether polls may rely on the order, and so read one end of the log only."""
        return self.log_order in ("oldest-first", "newest-first")


class PollState(msgspec.Struct, frozen=True, kw_only=True):
    """What the next poll of a task is planned from: how its polls have gone so far."""

    status: TaskStatus
    poll_interval: float = 0.0
    """Seconds; 0 while it has not been polled since it was tracked, resumed or sent to."""
    failures: int = 0
    """Walks that failed, one after another."""
    times_missing: int = 0
    """404s since the last walk that succeeded."""
    next_poll_at: datetime | None = None
    """When it was due, as this worker found it."""


WalkOutcome = Literal["news", "quiet", "failed", "missing", "forbidden"]
"""How a walk ended: `missing` after a 404, `forbidden` after a 403, `failed` for any other reason."""


class NextPoll(msgspec.Struct, frozen=True, kw_only=True):
    """When a task is polled next, and what is known of it then."""

    status: TaskStatus
    wait: float
    """Seconds from now."""
    poll_interval: float
    failures: int
    times_missing: int


class PollPlanner(Protocol):
    """Decides when a task is polled again; handed to a run, so that it need not know the rules."""

    def after_walk(self, state: PollState, outcome: WalkOutcome) -> NextPoll:
        """Return when a task in this state is polled next after a walk that ended like this."""
        ...

    def until_reconcile(self) -> float:
        """Return in how many seconds a task that has just been reconciled is so again."""
        ...


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's temporary right to walk a task."""

    task_id: str
    owner: str
    epoch: int
    state: PollState = PollState(status="active")
    """The task as the lease's owner found it."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One tracked task as it stands in the database."""

    task_id: str
    label: str | None
    status: TaskStatus
    tracked_at: datetime
    last_polled_at: datetime | None
    last_news_at: datetime | None
    next_poll_at: datetime | None
    failures: int
    last_error: str | None
    last_error_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    lease_epoch: int
    poll_interval: float = 0.0
    times_missing: int = 0
    next_reconcile_at: datetime | None = None
    lease_acquired_at: datetime | None = None
    paused_by: PausedBy | None = None


class PageApplied(msgspec.Struct, frozen=True, kw_only=True):
    """What one page came to, told to the observers after its commit."""

    task_id: str
    kind: WalkKind
    new: int
    changed: int
    unchanged: int
    quarantined: int
    vanished: int
    size_bytes: int
    end_reached: bool
    commit_seconds: float = 0.0
    """How long the page's transaction took."""


class WalkReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one walk of one task came to."""

    task_id: str
    kind: WalkKind | None = None
    """None: the task was not walked (held by another worker)."""
    pages: int = 0
    size_bytes: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    quarantined: int = 0
    vanished: int = 0
    doubted: int = 0
    """Rows that look vanished but were too many to be marked by one reconcile alone."""
    error: str | None = None
    error_kind: str | None = None
    """The error's class name, for scripts."""
    lease_lost: bool = False
    """Another worker took the task while this one was paused or cut off: its page was not written."""
    gave_way: bool = False
    """There is more to read, but other tasks go first."""


RunKind = Literal["sync", "full", "poll", "reconcile"]
"""`sync` and `full` are started by a person or a script, `poll` and `reconcile` by the daemon."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run over tasks came to."""

    run_id: int
    kind: RunKind
    started_at: datetime
    ended_at: datetime
    status: Literal["succeeded", "failed", "interrupted"]
    tasks: int
    held: tuple[str, ...]
    """Tasks that another worker holds; no failure."""
    walks: tuple[WalkReport, ...]
    """Only those with news or an error, and at most a hundred of each; the totals count all."""
    requests: int
    pages: int
    size_bytes: int
    new: int
    changed: int
    unchanged: int
    quarantined: int
    vanished: int
    doubted: int
    failed: int
    error: str | None = None
    interrupted_by: int | None = None
    """The number of the signal that ended the run early."""


SendOutcome = Literal["accepted", "refused", "unknown"]


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message to a task."""

    id: int
    """Its row in `sent_message`."""
    task_id: str
    sent_by: str
    sent_at: datetime
    outcome: SendOutcome
    """`refused`: certainly not processed. `unknown`: nobody knows."""
    completed_at: datetime | None = None
    error: str | None = None
    error_kind: str | None = None
    """The error's class name, for scripts."""
    unreachable: bool = False
    """It was refused because no connection could be made, or no access token be had just now."""
    newly_tracked: bool = False
    """The task was not tracked before."""
    poll: RunReport | None = None
    """The run that polled the task at once; None if there was none, or it failed as a whole."""
    poll_error: str | None = None
    """Why it failed as a whole; the message was accepted all the same."""
    interrupted_by: int | None = None
    """The number of the signal that came before all was done."""


class RunStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A run begins; told to the observers before its first walk."""

    run_id: int
    kind: RunKind | Literal["verify"]
    tasks: int
    """How many there are; 0 where nobody knows."""


DifferenceKind = Literal["not stored", "stored otherwise", "marked vanished", "not served", "not quarantined"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One event on which the copy and upstream disagree; never its payload."""

    task_id: str
    kind: DifferenceKind
    group_id: str | None
    timestamp_text: str | None
    ordinal: int | None
    """None where no row is stored."""
    page: int | None
    """The page of the log (from 1) that served it; None for a row that no page served."""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison of the copy with upstream came to."""

    tasks: int
    failed: tuple[WalkReport, ...]
    """Tasks that could not be compared."""
    pages: int
    requests: int
    events: int
    difference_count: int
    differences: tuple[Difference, ...]
    """The first thousand."""
    interrupted_by: int | None = None


class RequestMade(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the API has ended."""

    method: Literal["GET", "POST"]
    status: int | None
    """None: no answer came."""
    seconds: float


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """A wait before a request is repeated begins."""

    seconds: float
    cause: str
    """The class name of the error that makes it wait."""


Observation: TypeAlias = RunStarted | PageApplied | WalkReport | RunReport | RequestMade | Waited
"""What the core tells; one frozen record at a time."""
Observer: TypeAlias = Callable[[Observation], None]


class StoredRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What identity needs to know of a stored event; never its payload."""

    group_id: str
    timestamp: int
    ordinal: int
    seq: int
    """Its place (see TaskLog)."""
    digest: bytes
    """A keyed one (store/digest_key.py) where the payload was removed; then `canonical` is keyed as well."""
    canonical: bytes | None
    """Spelling-blind digest; None while the key has only ever had this one row."""
    vanished: bool
    tied: bool = False
    """A row that is not in the same window has the same place."""
    next_seq: int | None = None
    """For a row read by its key: the next higher place of the task, or None at the end."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The stored rows that follow a cursor, in the order of the walk."""

    rows: list[StoredRow]
    next_seq: int | None
    """The place of the first row behind the window, or None if the log ends within it."""


class NewRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that gets a row of its own."""

    event: Event
    ordinal: int
    seq: int
    """Its place (see TaskLog)."""
    canonical: bytes | None = None
    tie: int = 0
    """Rows that share a seq for want of room are told apart by first_seen_at: this many microseconds."""


class ChangedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored row whose payload upstream has changed."""

    row: StoredRow
    event: Event
    canonical: bytes | None


class PagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be written for one page, decided before anything is."""

    new: Sequence[NewRow]
    changed: list[ChangedRow]
    returned: list[StoredRow]
    """Rows marked vanished that were served again with an equal payload."""
    canonicals: list[tuple[StoredRow, bytes]]
    """Rows whose key has now been met with another payload, and their canonical digests."""
    matched: list[StoredRow]
    """Every stored row that this page served, changed ones included."""
    ending: list[StoredRow]
    """The rows, equal in payload, with which the page ends: what follows its last news, in page order."""
    unchanged: int
    undecided: bool = False
    """It takes the page behind this one to tell changes at its end from new events there."""
    top_seq: int
    """The highest place met so far in the walk: the next page is compared from here."""
