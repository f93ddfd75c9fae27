"""Do the views say what the logs say? Every column of every view, against figures from the raw elements.

On both databases, in several reporting time zones, for payloads with names that nobody could foresee, and for
events in which everything is odd that can be.
"""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from logs import task_id
from second_views import History, Seen, Views

from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, WORD_LISTS, FacetsSettings
from maia_sync.json_path import parse_path
from maia_sync.sandbox.oddities import STORABLE, UNSTORABLE
from maia_sync.sandbox.story import make_world
from maia_sync.sandbox.world import Log, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from oracle import Copy
    from second_views import Row

    Staging = Callable[..., Any]

DEFAULT = FacetsSettings()
COLUMNS = {
    "v_event": """
        task_id label group_id timestamp ordinal seq occurred_at timestamp_text event_type
        event_kind actor user_id agent_name model tool_name tool_call_id status outcome error_type
        duration_ms input_tokens output_tokens cost data extra revision first_seen_at
        last_changed_at vanished_at run_id""",
    "v_task": """
        task_id label status tracked_at first_at last_at span_seconds active_seconds events turns
        user_messages agent_messages tool_calls tool_errors errors input_tokens output_tokens cost
        vanished_events last_polled_at""",
    "v_turn": """
        task_id label group_id day user_id agent_name started_at ended_at duration_seconds asked_at
        answered_at first_at last_at events steps user_messages agent_messages tool_calls
        tool_errors errors input_tokens output_tokens cost vanished_events""",
    "v_tool_call": """
        task_id group_id tool_call_id tool_name agent_name called_at returned_at duration_ms outcome
        error_type paired_by call_seq result_seq""",
    "v_tool": """
        tool_name calls answered errors error_rate p50_ms p95_ms max_ms tasks first_at last_at""",
    "v_daily": """
        day events tasks turns users user_messages agent_messages tool_calls tool_errors errors
        input_tokens output_tokens cost vanished_events""",
    "v_hourly": """
        hour_at day hour events tasks turns users user_messages agent_messages tool_calls
        tool_errors errors input_tokens output_tokens cost vanished_events""",
    "v_user": """
        user_id tasks turns first_at last_at turn_seconds events tool_calls errors input_tokens
        output_tokens cost""",
    "v_error": """
        task_id label group_id timestamp ordinal seq occurred_at event_type event_kind actor
        agent_name tool_name tool_call_id status error_type data""",
    "v_model_usage": """
        day model agent_name events tasks input_tokens output_tokens cost""",
    "v_gap": """
        task_id group_id started_at ended_at gap_seconds event_type actor tool_name""",
    "v_revision": """
        task_id group_id timestamp ordinal occurred_at event_type revision seen_at superseded_at
        data data_after run_id vanished_at""",
    "v_sync_health": """
        task_id label status last_polled_at lag_seconds next_poll_at overdue_seconds last_news_at
        newest_event_at failures last_error last_error_at reconciled_at lease_owner quarantined
        vanished_events""",
}
FRACTIONS = frozenset(
    [
        "cost",
        "duration_ms",
        "duration_seconds",
        "span_seconds",
        "active_seconds",
        "error_rate",
        "p50_ms",
        "p95_ms",
        "max_ms",
        "turn_seconds",
        "gap_seconds",
        "lag_seconds",
        "overdue_seconds",
    ]
)
EXACT_TEXTS = ("data", "extra", "data_after")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


# ------------------------------------------------------------------ reading


def read(copy: Copy, view: str, columns: Sequence[str] = ()) -> list[Row]:
    """Return a view's rows, each value as SQLite would have it."""
    columns = columns or COLUMNS[view].split()
    cast = "::text" if copy.is_postgresql else ""
    wanted = ", ".join(f'"{name}"{cast if name in EXACT_TEXTS else ""}' for name in columns)
    return [
        {name: plain(name, value) for name, value in zip(columns, row, strict=True)}
        for row in copy.ask(f"SELECT {wanted} FROM {view}")
    ]


def plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        assert value.tzinfo is not None
        value = value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    elif isinstance(value, date):
        value = value.isoformat()
    elif isinstance(value, UUID):
        value = str(value)
    elif isinstance(value, Decimal):
        value = float(value)
    if name.endswith("_at") and value is not None:
        assert MOMENT.fullmatch(value), (name, value)
    return value


def by_name(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], Row]:
    return {tuple(row[name] for name in names): row for row in rows}


EVENT = ("task_id", "group_id", "timestamp", "ordinal")


def expected(
    copy: Copy, histories: Sequence[History], labels: dict[str, str | None], zone: str
) -> dict[str, list[Row]]:
    """Return every view's rows; what is only handed through comes from the tables."""
    views = Views(histories, labels, zone)
    of_task = by_name(read(copy, "task", ["task_id", "status", "tracked_at", "last_polled_at", "next_poll_at",
        "last_news_at", "failures", "last_error", "last_error_at", "lease_owner"]), "task_id")  # fmt: skip
    of_event = by_name(
        read(
            copy, "task_event", [*EVENT, "seq", "first_seen_at", "last_changed_at", "vanished_at", "run_id"]
        ),
        *EVENT,
    )
    of_revision = by_name(
        read(copy, "task_event_revision", [*EVENT, "revision", "seen_at", "superseded_at", "run_id"]),
        *EVENT,
        "revision",
    )
    reconciled = by_name(read(copy, "checkpoint", ["task_id", "reconciled_at"]), "task_id")
    quarantined = dict(copy.ask("SELECT task_id, count(*) FROM quarantine GROUP BY task_id"))
    quarantined = {str(name): number for name, number in quarantined.items()}
    wanted = {view: getattr(views, view)() for view in COLUMNS}
    assert len(of_event) == len(wanted["v_event"])
    for row in wanted["v_event"]:
        stored = of_event[tuple(row[name] for name in EVENT)]
        assert (stored["vanished_at"] is not None) == row["vanished_at"]
        assert row["revision"] > 0 or stored["first_seen_at"] == stored["last_changed_at"]
        row.update(stored)
    for row in wanted["v_error"]:
        row["seq"] = of_event[tuple(row[name] for name in EVENT)]["seq"]
    for row in wanted["v_revision"]:
        name = tuple(row[name] for name in EVENT)
        assert row["vanished_at"] == (of_event[name]["vanished_at"] is not None)
        row["vanished_at"] = of_event[name]["vanished_at"]
        row.update(of_revision[(*name, row["revision"])])
    for row in wanted["v_tool_call"]:
        for seq in ("call_seq", "result_seq"):
            row[seq] = row[seq] and of_event[row[seq]]["seq"]
    for row in wanted["v_task"]:
        stored = of_task[(row["task_id"],)]
        row.update({name: stored[name] for name in ("status", "tracked_at", "last_polled_at")})
    for row in wanted["v_sync_health"]:
        row.update(of_task[(row["task_id"],)])
        del row["tracked_at"]
        row["reconciled_at"] = reconciled.get((row["task_id"],), {}).get("reconciled_at")
        row["quarantined"] = quarantined.get(row["task_id"], 0)
    return wanted


# ------------------------------------------------------------------ comparing


def check(copy: Copy, histories: Sequence[History], labels: dict[str, str | None], zone: str = "UTC") -> None:
    """Compare every column of every view."""
    wanted = expected(copy, histories, labels, zone)
    for view, listed in COLUMNS.items():
        columns = listed.split()
        assert copy_columns(copy, view) == columns
        found = read(copy, view)
        if view == "v_sync_health":
            found = [without_ages(row) for row in found]
            columns = [name for name in columns if name not in ("lag_seconds", "overdue_seconds")]
        compare(view, columns, found, wanted[view])


def copy_columns(copy: Copy, view: str) -> list[str]:
    """Return a view's columns in order, having looked at their types."""
    if not copy.is_postgresql:
        return [name for (name,) in copy.ask("SELECT name FROM pragma_table_info(?) ORDER BY cid", view)]
    found = copy.ask(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ? "
        "ORDER BY ordinal_position",
        view,
    )
    for name, kind in found:
        if name.endswith("_at"):
            assert kind == "timestamp with time zone", (view, name, kind)
        elif name == "day":
            assert kind == "date"
        elif name in FRACTIONS - {"error_rate"}:
            assert kind == "double precision", (view, name, kind)
    return [name for name, _ in found]


def without_ages(row: Row) -> Row:
    """Return a row of v_sync_health without what changes while one looks at it."""
    ages = {name: row.pop(name) for name in ("lag_seconds", "overdue_seconds")}
    since = datetime.now(UTC) - datetime.fromisoformat(row["last_polled_at"]).replace(tzinfo=UTC)
    assert abs(ages["lag_seconds"] - since.total_seconds()) < 60
    assert 0 <= ages["overdue_seconds"] < 60
    return row


def compare(view: str, columns: list[str], found: list[Row], wanted: list[Row]) -> None:
    assert all(set(row) == set(columns) for row in wanted), (view, set(columns) ^ set(wanted[0]))
    told = [name for name in columns if name not in FRACTIONS]
    measured = [name for name in columns if name in FRACTIONS]

    def order(row: Row) -> tuple[Any, ...]:
        numbers = [-1.0 if row[name] is None else row[name] for name in measured]
        return [repr(row[name]) for name in told], numbers

    found, wanted = sorted(found, key=order), sorted(wanted, key=order)
    exact = [[{name: row[name] for name in told} for row in rows] for rows in (found, wanted)]
    for one, other in zip(*exact, strict=False):
        assert one == other, view
    assert len(found) == len(wanted), view
    for one, other in zip(found, wanted, strict=True):
        for name in measured:
            assert is_close(one[name], other[name]), (view, name, one, other)


def is_close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


# ------------------------------------------------------------------ worlds


def element(data: str | None, group: str | None = '"g"', stamp: str | None = None) -> bytes:
    parts = (("data", data), ("groupId", group), ("timestamp", stamp and json.dumps(stamp)))
    return ("{" + ",".join(f'"{name}":{raw}' for name, raw in parts if raw is not None) + "}").encode()


def around_clock_changes() -> list[bytes]:
    """Tell a log that goes over the two nights in which Berlin's clocks change, and over midnights."""
    log = []
    for start in ("2026-03-28T21:50:00", "2026-10-24T20:50:00", "2026-12-31T17:00:00"):
        begun = datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp()
        for number in range(48):
            stamp = f"{datetime.fromtimestamp(begun + number * 601, UTC):%Y-%m-%dT%H:%M:%S}.{number:03d}Z"
            kind = ("userMessage", "toolCall", "toolResult", "usage", "agentMessage")[number % 5]
            data = {
                "type": kind,
                "userId": f"u{number % 3}",
                "toolName": "t",
                "inputTokens": number,
                "model": "m",
            }
            log.append(element(json.dumps(data), f'"{start}/{number // 7}"', stamp))
    return log


class Life:
    """A world on stage, what is known of its logs, and what the copy must say."""

    def __init__(
        self,
        stage_for: Staging,
        world: World,
        *,
        seed: int = 1,
        spelt: Callable[[bytes], bytes] = bytes,
        said: Callable[[Seen], Seen] = lambda each: each,
        **others: Any,
    ) -> None:
        self.stage = stage_for(world, api__page_size=40, **others)
        self.rng = random.Random(seed)
        self.spelt = spelt
        self.said = said
        self.histories = [History(name, DEFAULT) for name in world.logs]
        self.labels: dict[str, str | None] = {}
        for number, history in enumerate(self.histories):
            history.see(world.logs[history.task_id].events)
            self.labels[history.task_id] = None if number % 2 else f"label {number}"
            if number % 2 == 0:
                self.stage.copy.ask(
                    "UPDATE task SET label = ? WHERE task_id = ?", f"label {number}", history.task_id
                )
        for log in world.logs.values():
            log.events[:] = [spelt(raw) for raw in log.events]

    def sync_and_check(self, zone: str, *, full: bool = False) -> None:
        app = self.stage.open_another(facets__time_zone=zone)
        report = app.sync(full=full)
        assert report.status == "succeeded", report.error
        said = [
            History(history.task_id, DEFAULT, [self.said(each) for each in history.events])
            for history in self.histories
        ]
        check(self.stage.copy, said, self.labels, zone)

    def serve(self) -> None:
        """Put what is there now into the served logs."""
        for history in self.histories:
            self.stage.world.logs[history.task_id].events[:] = [self.spelt(raw) for raw in history.log()]

    def change(self) -> None:
        """Change some events, twice some of them; have some vanish, and some come late."""
        for history in self.histories:
            self._change(history)
        self.serve()

    def _change(self, history: History) -> None:
        rng, few = self.rng, len(history.events) // 25
        keys = [(each.group_id, each.timestamp) for each in history.events]
        some = rng.sample(range(len(history.events)), 2 * few)
        for at in some[:few]:
            tail, other = TAIL.search(history.events[at].raw), rng.choice(history.events).data
            if tail is None or other is None or keys.count(keys[at]) > 1 or history.events[at].vanished:
                continue
            raw = b'{"data":' + other.encode() + tail[0]
            if not history.holds(raw):
                history.change(at, raw)
        for at in some[few:]:
            if at < len(history.events) - 60:  # what comes next could be taken for its change
                history.vanish(at)
        for at, each in enumerate(history.events):
            if each.group_id.startswith("alone") and at not in some:  # all that there is on its day
                history.vanish(at)
        for number in range(few):
            other, beside = rng.choice(history.events).data or "{}", rng.choice(history.events)
            tail = TAIL.search(beside.raw)
            if tail is not None:
                day, hour, micros = rng.randint(1, 9), rng.randrange(24), rng.randrange(10**6)
                stamp = f"2026-02-0{day}T{hour:02d}:40:{number:02d}.{micros:06d}Z"
                raw = b'{"data":' + other.encode() + tail[0].rpartition(b'"timestamp"')[0]
                history.insert(
                    rng.randrange(len(history.events)), raw + b'"timestamp":"' + stamp.encode() + b'"}'
                )

    def bring_back(self) -> None:
        """Have half of what vanished return."""
        for history in self.histories:
            gone = [at for at, each in enumerate(history.events) if each.vanished]
            for at in gone[::2]:
                history.vanish(at, vanished=False)
        self.serve()

    def go_on(self, elements: Callable[[str], list[bytes]]) -> None:
        """Append events."""
        for history in self.histories:
            new = elements(history.task_id)
            history.see(new)
            self.stage.world.logs[history.task_id].extend(self.spelt(raw) for raw in new)

    def live(self, more: Callable[[str], list[bytes]]) -> None:
        """Sync again and again while logs and time zones change, and look each time."""
        self.sync_and_check("UTC")
        self.change()
        self.sync_and_check("Europe/Berlin", full=True)
        self.go_on(more)
        self.sync_and_check("Asia/Kolkata")
        self.sync_and_check("America/St_Johns")
        self.change()
        self.bring_back()
        self.sync_and_check("Europe/Berlin", full=True)


TAIL = re.compile(rb',"groupId":"[^"\\]*","timestamp":"[^"\\]*"\}$')


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_the_views_say_what_the_sandboxs_logs_say(stage_for: Staging, order: str) -> None:
    """Among them a log over the nights in which clocks change, and a task without events."""
    world = stories()
    world.order = order
    life = Life(stage_for, world, api__order=order)
    life.live(lambda name: [] if name == task_id(1) else tell_on(world, name))


def stories() -> World:
    world = make_world(seed=5, tasks=2, events_per_task=150)
    world.add(Log(task_id(1), around_clock_changes()))
    world.add(Log(task_id(2)))
    return world


def tell_on(world: World, name: str) -> list[bytes]:
    """Return what a story goes on with, without putting it into the log."""
    log = world.logs[name]
    return log.teller.tell(25) if log.teller is not None else []


# ------------------------------------------------------------------ other names and words

NAMES = {
    "type": ("vorgang", "art"),
    "status": ("vorgang", "stand"),
    "userId": ("wer", 0, "nr"),
    "agentName": ("wer-hilft",),
    "model": ("modell.name",),
    "toolName": ("werkzeug", "heißt"),
    "toolCallId": ("werkzeug", "ruf"),
    "durationMs": ("werkzeug", "sekunden"),
    "inputTokens": ("marken", 0),
    "outputTokens": ("marken", 1),
    "costUsd": ("cent",),
    "error": ("panne",),
    "code": ("schlüssel",),
}
TYPES = {
    "userMessage": "Frage des Menschen",
    "agentMessage": "Antwort",
    "plan": "Vorhaben",
    "toolCall": "Aufruf",
    "toolResult": "Rückgabe",
    "error": "Panne",
    "usage": "Verbrauch",
    "taskStatus": "Stand",
}
STATUSES = {"failed": "mißlungen", "succeeded": "gelungen", "running": "unterwegs", "completed": "fertig"}
ELSEWHERE: dict[str, list[str]] = {
    **{key: [] for key in (*TEXT_PATHS, *NUMBER_PATHS)},
    "event_type": ["nirgends", "vorgang.art"],
    "status": ["$['vorgang']['stand']"],
    "user_id": ["wer[-1].nr", "wer[0].nr"],
    "agent_name": ["['wer-hilft']"],
    "model": ["['modell.name']"],
    "tool_name": ["werkzeug.heißt"],
    "tool_call_id": ["werkzeug.ruf"],
    "error_type": ["panne.schlüssel", "schlüssel"],
    "is_error": ["panne"],
    "duration_ms": ["werkzeug.sekunden * 1000"],
    "input_tokens": ["marken[0]"],
    "output_tokens": ["marken[1]"],
    "cost": ["cent * 0.01"],
    **{key: ["nie gesagt"] for key in WORD_LISTS},
    "user_words": ["frage_des_menschen"],
    "agent_words": ["ANTWORT"],
    "message_words": ["FrageDesMenschen", "antwort"],
    "plan_words": ["vorhaben"],
    "tool_call_words": ["auf-ruf"],
    "tool_result_words": ["rückgabe"],
    "error_words": ["panne"],
    "usage_words": ["verbrauch"],
    "status_words": ["stand"],
    "failed_words": ["misslungen"],
}


def translated(data: str) -> str:
    """Say what a payload says with other names and words."""
    said = json.loads(data)
    into: dict[str, Any] = {}
    said |= {"type": TYPES[said["type"]]}
    said |= {"status": STATUSES[said["status"]]} if "status" in said else {}
    said |= {"durationMs": said["durationMs"] / 1000} if "durationMs" in said else {}
    said |= {"costUsd": said["costUsd"] * 100} if "costUsd" in said else {}
    if "error" in said:
        said["error"] = {NAMES["code"][0]: said["error"]["code"], "Text": said["error"]["message"]}
    for name, value in said.items():
        *way, last = NAMES.get(name, (f"{name} (sonst)",))
        place: Any = into
        for step, following in zip(way, [*way, last][1:], strict=True):
            empty: Any = [None, None] if isinstance(following, int) else {}
            if isinstance(step, int):
                place[step] = place[step] or empty
                place = place[step]
            else:
                place = place.setdefault(step, empty)
        place[last] = value
    if "wer" in into:
        into["wer"] = into["wer"][:1]
    return json.dumps(into, ensure_ascii=False)


def retold(raw: bytes) -> bytes:
    parts = json.loads(raw)
    data = raw[len(b'{"data":') : raw.rindex(b',"groupId"')].decode()
    return element(translated(data), json.dumps(parts["groupId"]), parts["timestamp"])


def as_retold(each: Seen) -> Seen:
    types, statuses = {**TYPES, None: None}, {**STATUSES, None: None}
    facets = {
        **each.facets,
        "event_type": types[each.event_type],
        "status": statuses[each.status],
    }
    return replace(
        each, data=translated(each.data), earlier=tuple(map(translated, each.earlier)), facets=facets
    )


def test_the_views_say_the_same_of_payloads_with_other_names_and_words(stage_for: Staging) -> None:
    """The sandbox's stories in a tongue that only the configuration knows."""
    world = stories()
    del world.logs[task_id(1)]
    settings = {f"facets__{key}": json.dumps(value) for key, value in ELSEWHERE.items()}
    Life(stage_for, world, spelt=retold, said=as_retold, **settings).live(lambda name: tell_on(world, name))


# ------------------------------------------------------------------ poison

POISON = (
    r'"a\u0000b"', r'"\ud800"', "1e400", "9" * 30, "-1", "0.1", '"5"', "true", "{}", "[]", '{"type":"x"}',
    '""',
    '"' + "é" * 200 + '"', r'"\\N\t\n\u0085"', "1000000000", "5.0",
)  # fmt: skip


def poisoned(facets: Sequence[str]) -> list[bytes]:
    """Put every poison into every wanted place."""
    log = []
    for number, facet in enumerate(facets):
        for path in getattr(DEFAULT, facet):
            for poison in POISON:
                raw = poison
                for step in reversed(parse_path(path).steps):
                    raw = f'{{"type":"toolResult",{json.dumps(step)}:{raw}}}'
                clock = f"{len(log) // 3600 % 24:02d}:{len(log) // 60 % 60:02d}:{len(log) % 60:02d}"
                stamp = f"2026-02-{1 + number:02d}T{clock}.5Z"
                log.append(element(raw, f'"{facet}"', stamp))
    return log


STAMPS = (
    None, "yesterday", "0001-01-01T00:00:00Z", "1700-01-01T10:10:00Z", "2262-04-01T00:00:00Z",
    "9999-12-31T23:59:59.9Z",
    *(f"2026-01-05T08:{minute:02d}:00{fraction}Z" for minute in (0, 14, 15, 59)
      for fraction in ("", ".0000001", ".000001", ".5", ".999999999")),
    "2016-12-31T23:59:60Z", "2026-01-05T10:00:06.25+02:00",
)  # fmt: skip


KINDS = [
    "toolCall",
    "toolCall",
    "toolResult",
    "toolResult",
    "userMessage",
    "agentMessage",
    "usage",
    "error",
    "note",
]


def untidy(rng: random.Random, number: int, salt: str) -> list[bytes]:
    """Tell events in no order at all: few moments, groups and ids, so that everything meets everything."""
    log = []
    for at in range(number):
        kind = rng.choice(KINDS)
        data: dict[str, Any] = {"type": kind, "n": f"{salt}{at}"}
        if rng.random() < 0.6:
            data["toolCallId"] = rng.choice(["c1", "c2", "c3", "c4", f"{salt}{at}", "x" * 300])
        for name, values in (
            ("toolName", ["t1", "t2", "\t"]),
            ("userId", ["u1", "u2", "u" * 300]),
            ("agentName", ["a1", "a2", "\\N"]),
            ("status", ["failed", "ok"]),
            ("durationMs", [0, 5, 7.5, 10**12]),
            ("inputTokens", [0, 3, 10**12]),
            ("costUsd", [0.1, 1e-9, 10**9]),
            ("model", ["m1", "m2"]),
            ("errorType", ["E1", "E2", ""]),
            ("role", ["user", "assistant", "tool", "nobody"]),
        ):
            if rng.random() < 0.25:
                data[name] = rng.choice(values)
        group = rng.choice([None, '""', '"g1"', '"g1"', '"g2"', r'"g\\N\t"', "7", '"ü"'])
        log.append(element(json.dumps(data), group, rng.choice(STAMPS)))
    return log


def far_apart() -> list[bytes]:
    """Tell calls whose results came centuries later, and one that came before its call."""

    def said(kind: str, call: str, stamp: str | None, **others: str) -> bytes:
        group = f'"{call}"'
        identity = {} if call.startswith("bare") else {"toolCallId": call}
        return element(json.dumps({"type": kind, **identity, **others}), group, stamp)

    pairs = [
        ("1678-01-01T00:00:00Z", "2262-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        ("2262-01-01T00:00:00Z", "1678-01-01T00:00:00Z"),
        (None, "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00Z", None),
        (None, None),
    ]
    failed = {"status": "failed", "errorType": "of the call"}
    return [
        *(
            said(kind, f"{how}{at}", stamp)
            for how in ("id", "bare")
            for at, pair in enumerate(pairs)
            for kind, stamp in zip(("toolCall", "toolResult"), pair, strict=True)
        ),
        said("toolCall", "id8", "2026-01-02T00:00:00Z", **failed),
        said("toolResult", "id8", "2026-01-02T00:00:01Z", **{**failed, "errorType": "of the result"}),
        said("toolCall", "bare8", "2026-01-02T00:00:00Z", **failed),
        said("toolResult", "bare8", "2026-01-02T00:00:01Z", **{**failed, "errorType": "of the result"}),
        *(said("userMessage", f"alone{day}", f"2026-06-{day:02d}T01:00:00Z", userId="u9") for day in (1, 2)),
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_views_say_what_poisoned_logs_say(stage_for: Staging, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    world = World()
    world.add(Log(task_id(1), [*STORABLE.values(), *UNSTORABLE.values(), *STORABLE.values()]))
    world.add(Log(task_id(2), poisoned((*TEXT_PATHS, *NUMBER_PATHS)) if seed == 1 else []))
    world.add(Log(task_id(3), untidy(rng, 150, "a")))
    world.add(Log(task_id(4), untidy(rng, 30, "b")))
    world.add(Log(task_id(5), far_apart()))
    Life(stage_for, world, seed=seed, api__order="oldest-first").live(
        lambda name: untidy(rng, 10, f"c{name[:8]}")
    )


# ------------------------------------------------------------------ one small story, told by hand


def said(clock: str, group: str | None, **data: Any) -> bytes:
    return element(json.dumps(data), json.dumps(group), f"2026-01-05T{clock}Z")


SMALL = [
    said("23:50:00", "one", type="userMessage", userId="ana"),
    said("23:50:02", "one", type="plan", agentName="helper", model="m1"),
    said("23:50:03", "one", type="toolCall", toolName="sql", toolCallId="c1", agentName="helper"),
    said("23:50:05.5", "one", type="toolResult", toolCallId="c1", status="failed", error={"code": "TIMEOUT"}),
    said("23:50:06", "one", type="toolCall", toolName="sql", toolCallId="c2", agentName="helper"),
    said("23:50:07", "one", type="toolResult", toolName="sql", toolCallId="c2", durationMs=900),
    said("23:50:08", "one", type="usage", model="m1", inputTokens=100, outputTokens=20, costUsd=0.25),
    said("23:59:59", "one", type="agentMessage", agentName="helper", model="m1"),
    said("23:59:59.5", "one", type="taskStatus", status="completed"),
    said("23:59:59.75", "two", type="userMessage", userId="ben"),
    said("23:59:59.875", "two", type="toolCall", toolName="docs"),
    said("23:59:59.9", None, type="usage", model="m1", inputTokens=1),
]


def test_a_small_story_comes_to_what_one_counts_by_hand(stage_for: Staging) -> None:
    """New York's day is not over when UTC's ends, and Kolkata's began long before."""
    world = World()
    world.add(Log(task_id(1), SMALL))
    world.add(Log(task_id(2)))
    stage = stage_for(world, facets__time_zone="Asia/Kolkata")
    stage.sync_well()
    copy, task = stage.copy, task_id(1)

    def rows(view: str, *columns: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(row.values()) for row in read(copy, view, columns)), key=repr)

    day = "2026-01-05 23:"
    assert rows(
        "v_turn", "group_id", "day", "user_id", "agent_name", "started_at", "ended_at", "duration_seconds"
    ) == [
        ("one", "2026-01-06", "ana", "helper", f"{day}50:00.000000", f"{day}59:59.000000", 599.0),
        ("two", "2026-01-06", "ben", None, f"{day}59:59.750000", f"{day}59:59.875000", 0.125),
    ]
    assert rows(
        "v_turn", "events", "steps", "tool_calls", "tool_errors", "errors", "input_tokens", "cost"
    ) == [
        (2, 1, 1, 0, 0, 0, 0.0),
        (9, 4, 2, 1, 1, 100, 0.25),
    ]
    assert rows("v_task", "task_id", "events", "turns", "span_seconds", "active_seconds", "input_tokens") == [
        (task, 12, 2, 599.9, 599.125, 101),
        (task_id(2), 0, 0, None, None, 0),
    ]
    assert rows(
        "v_tool_call", "tool_call_id", "tool_name", "duration_ms", "outcome", "error_type", "paired_by"
    ) == [
        ("c1", "sql", 2500.0, "error", "TIMEOUT", "id"),
        ("c2", "sql", 900.0, "ok", None, "id"),
        (None, "docs", None, None, None, None),
    ]
    assert rows(
        "v_tool", "tool_name", "calls", "answered", "errors", "error_rate", "p50_ms", "p95_ms", "max_ms"
    ) == [
        ("docs", 1, 0, 0, None, None, None, None),
        ("sql", 2, 2, 1, 0.5, 900.0, 2500.0, 2500.0),
    ]
    assert rows("v_user", "user_id", "tasks", "turns", "turn_seconds", "tool_calls", "output_tokens") == [
        ("ana", 1, 1, 599.0, 2, 20),
        ("ben", 1, 1, 0.125, 1, 0),
    ]
    assert rows(
        "v_daily", "day", "events", "tasks", "turns", "users", "user_messages", "agent_messages", "errors"
    ) == [("2026-01-06", 12, 1, 2, 2, 2, 1, 1)]
    assert rows("v_hourly", "hour_at", "day", "hour", "events", "turns") == [
        (f"{day}30:00.000000", "2026-01-06", 5, 12, 2)
    ]
    assert rows("v_model_usage", "day", "model", "agent_name", "events", "tasks", "input_tokens", "cost") == [
        ("2026-01-06", "m1", None, 2, 1, 101, 0.25)
    ]
    assert rows("v_error", "event_type", "tool_call_id", "status", "error_type") == [
        ("toolResult", "c1", "failed", "TIMEOUT")
    ]
    assert max(rows("v_gap", "gap_seconds", "event_type", "tool_name")) == (591.0, "usage", None)
    assert len(rows("v_gap", "group_id")) == len(SMALL) - 3
    stage.open_another(facets__time_zone="America/New_York").sync()
    assert rows("v_daily", "day", "events", "turns") == [("2026-01-05", 12, 2)]
    assert rows("v_hourly", "hour_at", "day", "hour", "turns") == [
        (f"{day}00:00.000000", "2026-01-05", 18, 2)
    ]
    assert rows("v_model_usage", "day", "events") == [("2026-01-05", 2)]


def test_a_task_that_was_never_polled_is_there_and_its_lag_grows_from_when_it_was_tracked(
    stage_for: Staging,
) -> None:
    world = World()
    world.add(Log(task_id(1), SMALL))
    copy = stage_for(world).copy
    (told,) = read(copy, "v_task", ("task_id", "events", "turns", "cost", "last_polled_at", "first_at"))
    assert tuple(told.values()) == (task_id(1), 0, 0, 0, None, None)
    (health,) = read(
        copy, "v_sync_health", ("lag_seconds", "overdue_seconds", "quarantined", "newest_event_at")
    )
    assert 0 <= health["lag_seconds"] < 60
    assert (health["quarantined"], health["newest_event_at"]) == (0, None)
    empty = [view for view in COLUMNS if view not in ("v_task", "v_sync_health") and read(copy, view)]
    assert empty == []
