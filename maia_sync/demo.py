"""Of which steps is the demo made? A sandbox, a database and what happens between them; prints nothing.

The database file is marked as the demo's own by SQLite's application id, so that a later demo can
replace it, and can refuse to replace any other file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from maia_sync.app import App, open_app
from maia_sync.errors import Bug, UsageError
from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world, more_events
from maia_sync.settings import ApiSettings, AuthSettings, DatabaseSettings, Secret, Settings
from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from maia_sync.model import Observer, RunReport, VerifyReport

FILE_NAME: Final = "maia_sync_demo.db"
LABELS: Final = (
    "load orders",
    "invoice checks",
    "web events model",
    "stock levels",
    "returns report",
    "exchange rates",
)
EVENTS_PER_TASK: Final = 4_020
MORE_EVENTS: Final = 10
_PAGE_SIZE = 500
_LATENCY = 0.06  # seconds: about what a real API takes, and long enough for the bar to be seen
_SEED = 7

_SQLITE_MAGIC = b"SQLite format 3\x00"
_APPLICATION_ID = 0x6D616964  # "maid"
_APPLICATION_ID_AT = slice(68, 72)  # sqlite.org/fileformat2.html section 1.3


class Question(NamedTuple):
    """A question to the copy, and its SQL."""

    title: str
    sql: str


QUESTIONS: Final = (
    Question(
        "What did the agents do?",
        """\
SELECT json_extract(data, '$.type') AS type, count(*) AS events
FROM task_event
GROUP BY type
ORDER BY events DESC""",
    ),
    Question(
        "Which tool calls were the slowest?",
        """\
SELECT json_extract(data, '$.toolName') AS tool,
       json_extract(data, '$.durationMs') / 1000.0 AS seconds,
       json_extract(data, '$.status') AS status,
       substr(occurred_at, 1, 16) AS at
FROM task_event
WHERE json_extract(data, '$.type') = 'toolResult'
ORDER BY seconds DESC
LIMIT 5""",
    ),
    Question(
        "How often does each tool fail?",
        """\
SELECT json_extract(data, '$.toolName') AS tool,
       count(*) AS calls,
       sum(json_extract(data, '$.status') = 'failed') AS failed,
       round(100 * avg(json_extract(data, '$.status') = 'failed'), 1) AS pct
FROM task_event
WHERE json_extract(data, '$.type') = 'toolResult'
GROUP BY tool
ORDER BY pct DESC""",
    ),
    Question(
        "How many tokens did each task use?",
        """\
SELECT label AS task,
       sum(json_extract(data, '$.inputTokens')) AS tokens_in,
       sum(json_extract(data, '$.outputTokens')) AS tokens_out,
       round(sum(json_extract(data, '$.costUsd')), 2) AS usd
FROM task_event JOIN task USING (task_id)
WHERE json_extract(data, '$.type') = 'usage'
GROUP BY label
ORDER BY tokens_in DESC""",
    ),
)

_MEDDLING = """\
SELECT changed.revision, earlier.data AS before, changed.data AS now, vanished.data AS gone
FROM task_event AS changed
JOIN task_event_revision AS earlier USING (task_id, group_id, timestamp, ordinal)
JOIN task_event AS vanished ON vanished.vanished_at IS NOT NULL"""


class Answer(NamedTuple):
    """What SQL answered."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class Traffic(NamedTuple):
    """What the sandbox's own counters say about one step."""

    requests: int
    events_served: int


class Meddling(NamedTuple):
    """What was changed upstream behind the copy's back, and how the copy shows it."""

    changed_before: str
    changed_now: str
    revision: int
    vanished: str


class Demo:
    """A sandbox and a copy of it in a SQLite file; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replaced = make_room(path)
        self.world = make_world(_SEED, len(LABELS), EVENTS_PER_TASK, latency=_LATENCY)
        self.task_ids = list(self.world.logs)
        self._server = SandboxServer(self.world)

    def __enter__(self) -> Self:
        self._server.start()
        self.url = self._server.url
        try:
            self.app = self._open()
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.close()
        self._server.stop()

    def _open(self) -> App:
        settings = Settings(
            api=ApiSettings(base_url=self.url, page_size=_PAGE_SIZE, concurrency=3),
            auth=AuthSettings(token=Secret("demo")),
            database=DatabaseSettings(url=f"sqlite:///{self.path}"),
        )
        with open_app(settings) as app:  # closed once, so that the mark is in the file before all else
            upgrade(app.database)
            with app.database.transaction() as tx:
                tx.connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
        return open_app(settings)

    def track(self) -> None:
        """Track every task, each with a label."""
        with self.app.database.transaction() as tx:
            for task_id, label in zip(self.task_ids, LABELS, strict=True):
                upsert_tasks(tx, [task_id], label=label)

    def sync(self, observers: Sequence[Observer], *, full: bool = False) -> tuple[RunReport, Traffic]:
        """Make one run, and count what the sandbox was asked for."""
        self.world.reset_counters()
        report = self.app.sync(full=full, observers=observers)
        counters = self.world.counters()
        return report, Traffic(counters["requests"], counters["events_served"])

    def verify(self, observers: Sequence[Observer]) -> VerifyReport:
        """Compare the copy with the sandbox."""
        return self.app.verify(observers=observers)

    def go_on(self) -> int:
        """Let each task's agent go on; returns how many events there are now."""
        for log in self.world.logs.values():
            more_events(log, MORE_EVENTS, seed=_SEED)
        return sum(len(log) for log in self.world.logs.values())

    def meddle(self) -> None:
        """Change one payload and take one event away, deep in a log that was read long ago."""
        log = self.world.logs[self.task_ids[0]]
        place = next(at for at, event in enumerate(log.events) if at > 1000 and b'"userMessage"' in event)
        log.replace(place, log.events[place].replace(b'"text":"', b'"text":"(edited) ', 1))
        gone = next(at for at, event in enumerate(log.events) if at > place and b'"agentMessage"' in event)
        log.remove(gone)

    def read_meddling(self) -> Meddling:
        """Return what the copy knows of it: the earlier payload, and the event that is gone upstream."""
        with self.app.database.transaction(write=False) as tx:
            found = tx.connection.exec_driver_sql(_MEDDLING).one_or_none()
        if found is None:
            raise Bug("the demo's changes were not found by the reconcile")
        return Meddling(found.before, found.now, found.revision, found.gone)

    def ask(self, question: Question) -> Answer:
        """Return what the database answers."""
        with self.app.database.transaction(write=False) as tx:
            result = tx.connection.exec_driver_sql(question.sql)
            return Answer(list(result.keys()), [tuple(row) for row in result])


def make_room(path: Path) -> bool:
    """Remove what an earlier demo left; True if there was something. Raises UsageError for any other file."""
    if not path.exists():
        return False
    if not is_from_demo(path):
        raise UsageError(f"{path} was not made by the demo, so it stays: move it away, or use --keep DIR")
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        name.unlink(missing_ok=True)
    return True


def is_from_demo(path: Path) -> bool:
    """Tell whether a file bears the mark of the demo's database."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return head.startswith(_SQLITE_MAGIC) and int.from_bytes(head[_APPLICATION_ID_AT]) == _APPLICATION_ID
