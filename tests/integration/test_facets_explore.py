"""Is the sample spread over tasks and logs without a scan, and does `facets explore` tell what is stored?"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import typer
from logs import task_id
from sqlalchemy import event, text

from maia_sync.cli import explore_verb
from maia_sync.cli.invocation import Invocation
from maia_sync.clock import ManualClock
from maia_sync.errors import UsageError
from maia_sync.json_path import parse_path
from maia_sync.store import sampling
from maia_sync.store.database import Database
from maia_sync.store.sampling import read_sample
from maia_sync.store.schema import task, task_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from maia_sync.store.sampling import SampledPayload

STEP = 1 << 20


class Copy:
    """A database, and a writer of tasks and events into it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, number: int, payloads: Sequence[str | None], *, seqs: Sequence[int] | None = None) -> str:
        """Add a task with a log of these payloads."""
        name = task_id(number)
        with self.database.transaction() as tx:
            news = {"last_news_at": tx.now} if payloads else {}
            tracked = {"task_id": name, "status": "active", "tracked_at": tx.now, **news}
            tx.connection.execute(task.insert().values(**tracked))
            rows = [
                {
                    "task_id": name,
                    "group_id": "g",
                    "timestamp": at,
                    "ordinal": 0,
                    "data": data,
                    "seq": seqs[at] if seqs else at * STEP,
                    "digest": b"",
                    "revision": 0,
                    "first_seen_at": tx.now,
                    "last_changed_at": tx.now,
                }
                for at, data in enumerate(payloads)
            ]
            if rows:
                tx.connection.execute(task_event.insert(), rows)
        return name

    def sample(self, wanted: int, *task_ids: str) -> list[SampledPayload]:
        with self.database.transaction(write=False) as tx:
            return list(read_sample(tx, wanted, task_ids=task_ids))

    def numbers(self, wanted: int, *task_ids: str) -> dict[str, list[int]]:
        """Return which events of which task are in the sample."""
        found: dict[str, list[int]] = {}
        for payload in self.sample(wanted, *task_ids):
            assert payload.data is not None
            found.setdefault(payload.task_id, []).append(json.loads(payload.data)["n"])
        assert all(len(set(each)) == len(each) for each in found.values())
        return {name: sorted(each) for name, each in found.items()}


@pytest.fixture
def copy(database_url: str) -> Iterator[Copy]:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url=url, clock=ManualClock())
    yield Copy(database)
    database.close()


def numbered(length: int) -> list[str]:
    return [f'{{"n":{number}}}' for number in range(length)]


def test_a_log_that_fits_is_read_whole_and_a_longer_one_early_in_the_middle_and_late(copy: Copy) -> None:
    short, long = copy.add(1, numbered(45)), copy.add(2, numbered(5_000))
    copy.add(3, [])
    found = copy.numbers(300)
    assert found[short] == list(range(45))
    assert len(found[long]) == 255
    assert {0, 4_999} <= set(found[long])
    assert max(after - before for before, after in zip(found[long], found[long][1:], strict=False)) < 500
    assert copy.numbers(300) == found, "the same question has the same answer"


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 30, 31, 299, 300, 301, 1000])
def test_never_more_than_wanted_and_hardly_fewer(copy: Copy, wanted: int) -> None:
    for number, length in enumerate((1, 9, 90, 200), 1):
        copy.add(number, numbered(length))
    found = copy.numbers(wanted)
    most = min(wanted, 300)
    assert most * 0.9 <= sum(map(len, found.values())) <= most, "runs of one log may overlap a little"
    assert wanted < 300 or sum(map(len, found.values())) == 300
    if wanted >= 4:
        assert len(found) == 4


def test_every_task_has_its_share_and_three_rows_are_early_middle_and_late(copy: Copy) -> None:
    for number in range(1, 21):
        copy.add(number, numbered(1_000))
    found = copy.numbers(60)
    assert len(found) == 20
    assert all(first == 0 and 300 < middle < 700 and last == 999 for first, middle, last in found.values())
    one_each = copy.numbers(20)
    parts = Counter(each[0] * 3 // 1_000 for each in one_each.values())
    assert set(parts) == {0, 1, 2}


def test_tasks_can_be_chosen(copy: Copy) -> None:
    for number in range(1, 5):
        copy.add(number, numbered(50))
    assert set(copy.numbers(40, task_id(2), task_id(4))) == {task_id(2), task_id(4)}
    assert copy.numbers(40, task_id(9)) == {}


def test_many_tasks_without_events_do_not_hide_the_one_with_some(copy: Copy) -> None:
    for number in range(1, 150):
        copy.add(number, [])
    copy.add(75_000, numbered(10))
    assert copy.numbers(5) == {task_id(75_000): copy.numbers(5)[task_id(75_000)]}
    assert copy.sample(0) == []


def test_of_very_many_tasks_some_at_even_distances_are_read(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MOST_TASKS", 10)
    for number in range(1, 101):
        copy.add(number, numbered(3))
    found = sorted(copy.numbers(50))
    assert found == [task_id(number) for number in range(1, 101, 10)]


def test_events_that_share_a_place_or_crowd_at_one_end_are_sampled_once(copy: Copy) -> None:
    copy.add(1, numbered(200), seqs=[7] * 200)
    crowded = copy.add(2, numbered(200), seqs=[*range(199), 1 << 40])
    found = copy.numbers(100)
    assert sum(map(len, found.values())) <= 100
    assert 199 in found[crowded]


def test_long_payloads_are_left_out_and_bytes_are_bounded(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "LONGEST_PAYLOAD", 1_000)
    monkeypatch.setattr(sampling, "MOST_BYTES", 50_000)
    long, short = json.dumps("x" * 2_000), json.dumps("y" * 900)
    for number in (1, 2):
        copy.add(number, [long, None, short, *[short] * 500])
    found = copy.sample(1_000)
    assert sum(len(each.data or "") for each in found) < 50_000 + sampling.RUN_ROWS * 2 * 1_000
    assert {each.task_id for each in found} == {task_id(1), task_id(2)}
    assert [(each.data, each.is_too_long) for each in found[:3]] == [
        (None, True),
        (None, False),
        (short, False),
    ]


def test_no_statement_scans_the_events(copy: Copy, database_url: str) -> None:
    for number in range(1, 4):
        copy.add(number, numbered(1_500))
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(copy.database.engine, "before_cursor_execute", note)
    assert len(copy.sample(200)) == 200
    event.remove(copy.database.engine, "before_cursor_execute", note)
    of_events = {statement: values for statement, values in statements if "task_event" in statement}
    assert of_events
    is_sqlite = database_url.startswith("sqlite")
    with copy.database.transaction(write=False) as tx:
        if not is_sqlite:
            tx.connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        for statement, values in of_events.items():
            plan = [str(tuple(row)) for row in tx.connection.exec_driver_sql(explain + statement, values)]
            assert not any("SCAN task_event" in line or "Seq Scan on task_event" in line for line in plan), (
                plan
            )
            assert any("ix_task_event_task_id_seq" in line for line in plan), plan


# ------------------------------------------------------------------ the verb


class Done(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def explore(copy: Copy, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs the verb on the test's database."""
    url = str(copy.database.engine.url.render_as_string(hide_password=False))
    config = tmp_path / "explore.toml"
    config.write_text(f"[database]\nurl = {json.dumps(url)}\n", encoding="utf-8")
    group = typer.Typer()
    group.callback()(lambda: None)
    explore_verb.register(group)
    command: Any = typer.main.get_command(group)

    def run(*arguments: str) -> Done:
        invocation = Invocation(config=config)
        capfd.readouterr()
        with command.make_context("facets", ["explore", *arguments], obj=invocation) as context:
            code = command.invoke(context)
        return Done(code, *capfd.readouterr())

    return run


ODD = [
    r'{"type":"toolCall","toolName":"grep","\u001b[31m\u202e":{"a.b":"\u0000"},"half":"\ud800"}',
    '{"type":"toolCall","huge":1e400,"secret":"s3cret-value","name":"s3cret-name"}',
    '{"type":"status","status":"failed","deep":' + '{"a":' * 900 + "1" + "}" * 900 + "}",
    "null",
    '["s3cret-item"]',
    None,
]


def test_the_listing_names_paths_by_event_type_and_shows_no_values(
    copy: Copy, explore: Callable[..., Done]
) -> None:
    copy.add(1, ODD)
    done = explore()
    assert done.code == 0
    assert done.err == ""
    assert "5 payloads of 1 task looked at" in done.out
    assert "1 event without data" in done.out
    assert "Event type toolCall: 2 payloads" in done.out
    assert r"['\u001b[31m\u202e']['a.b']" in done.out
    assert "s3cret" not in done.out
    assert "grep" not in done.out
    assert all(line.isprintable() for line in done.out.splitlines())


def test_the_document_says_the_same(copy: Copy, explore: Callable[..., Done]) -> None:
    copy.add(1, ODD)
    done = explore("--json")
    document = json.loads(done.out)
    assert (document["payloads"], document["tasks"], document["without_data"]) == (5, 1, 1)
    types = {each["event_type"]: each for each in document["event_types"]}
    assert {name: each["payloads"] for name, each in types.items()} == {"toolCall": 2, None: 2, "status": 1}
    listed = {each["path"]: each for each in types["toolCall"]["paths"]}
    assert listed["huge"] == {"path": "huge", "payloads": 1, "types": {"number": 1}}
    assert listed["half"]["types"] == {"string": 1}
    assert {"path": "status", "words": {"failed": 1}} in document["words"]
    assert "s3cret" not in done.out
    for each in document["paths"]:
        parse_path(each["path"])


def test_the_suggestion_is_a_section_for_the_configuration(
    copy: Copy, explore: Callable[..., Done], tmp_path: Path
) -> None:
    copy.add(1, ODD)
    done = explore("--suggest")
    section = tomllib.loads(done.out)["facets"]
    assert section["event_type"] == ["type"]
    assert section["tool_name"][0] == "toolName"
    assert "s3cret" not in done.out
    config = tmp_path / "explore.toml"
    config.write_text(config.read_text(encoding="utf-8") + done.out, encoding="utf-8")
    assert explore("--suggest") == done, "the configuration takes it, and the suggestion stays the same"


def test_event_types_are_guessed_where_the_configuration_finds_none(
    copy: Copy, explore: Callable[..., Done]
) -> None:
    copy.add(1, ['{"msg_kind":"tool-use","n":1}', '{"msg_kind":"reply"}'] * 3)
    done = explore()
    assert "so they are read at msg_kind" in done.out
    assert "Event type tool-use: 3 payloads" in done.out
    assert json.loads(explore("--json").out)["event_type_paths"] == ["msg_kind"]
    assert tomllib.loads(explore("--suggest").out)["facets"]["tool_call_words"][0] == "tool-use"


def test_a_suggestion_reads_event_types_where_they_say_most(copy: Copy, explore: Callable[..., Done]) -> None:
    said = '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"bash"}]}}'
    copy.add(1, [said, '{"type":"user","message":{"content":"hello"}}'] * 3)
    assert "Event type assistant: 3 payloads" in explore().out
    section = tomllib.loads(explore("--suggest").out)["facets"]
    assert section["event_type"] == ["message.content[0].type", "type"]
    assert section["tool_name"] == ["message.content[0].name"]


def test_the_sample_and_its_tasks_can_be_chosen(copy: Copy, explore: Callable[..., Done]) -> None:
    copy.add(1, numbered(50))
    copy.add(2, ['{"other":1}'] * 50)
    document = json.loads(explore("--json", "--sample", "10").out)
    assert (document["payloads"], document["tasks"]) == (10, 2)
    only = json.loads(explore("--json", "--task", task_id(2), "--task", task_id(2).upper()).out)
    assert [each["path"] for each in only["paths"]] == ["$", "other"]


def test_an_empty_database_has_nothing_to_list(copy: Copy, explore: Callable[..., Done]) -> None:
    done = explore()
    assert (done.code, done.out) == (0, "")
    assert done.err == "No events in the database yet: there is nothing to explore.\n"
    document = explore("--json")
    assert json.loads(document.out)["event_types"] == json.loads(document.out)["paths"] == []
    assert document.err == done.err
    assert tomllib.loads(explore("--suggest").out) == {"facets": {"time_zone": "UTC"}}
    copy.add(1, [])
    assert explore("--task", task_id(1)).err.startswith("No events of these tasks yet")
    copy.add(2, [None])
    assert explore().err == "None of the 1 event looked at has a payload that can be explored.\n"


def test_what_cannot_be_asked_is_a_usage_error(copy: Copy, explore: Callable[..., Done]) -> None:
    copy.add(1, [])
    for arguments in (("--suggest", "--json"), ("--task", "x"), ("--task", task_id(7))):
        with pytest.raises(UsageError):
            explore(*arguments)
    for arguments in (("--sample", "0"), ("--sample", "-1"), ("--sample", "many"), ("--sample", "1000001")):
        with pytest.raises(typer.BadParameter):
            explore(*arguments)
