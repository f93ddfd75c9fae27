"""Do README and program tell the same? Keys, commands, recipes, tables; and its queries all run."""

from __future__ import annotations

import asyncio
import configparser
import json
import re
import shlex
import sqlite3
import tomllib
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
import typer
import yaml

from maia_sync import errors
from maia_sync.app import open_app
from maia_sync.archive import anchor
from maia_sync.cli.failure import EXIT_READER_GONE
from maia_sync.cli.main import cli
from maia_sync.clock import ManualClock
from maia_sync.config import load_settings, variable_name
from maia_sync.config_keys import KEYS
from maia_sync.sandbox.story import make_world
from maia_sync.service.metrics import Metrics
from maia_sync.store.gauges import Gauges
from maia_sync.store.schema import metadata
from maia_sync.store.tasks import upsert_tasks
from maia_sync.web.guard import OPEN_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.sandbox.server import SandboxServer
    from maia_sync.sandbox.world import World

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
NO_DEFAULT = "none"
FEWEST_QUERIES = 10
SECONDS_TO_STOP = 10


class Block(NamedTuple):
    """A fenced block: what stands behind its fence, its text, and its line for the test's name."""

    language: str
    text: str
    line: int


@cache
def blocks() -> tuple[Block, ...]:
    found = re.finditer(r"^( *)```(\w+[^\n]*)\n(.*?)^\1```$", README, flags=re.DOTALL | re.MULTILINE)
    return tuple(Block(one[2], one[3], README.count("\n", 0, one.start()) + 1) for one in found)


def cells_below(heading: str) -> Iterator[list[str]]:
    """Yield the cells of each table row in the part of the README that begins with this heading."""
    level = heading.split(" ", 1)[0]
    begin = README.index(f"\n{heading}") + 1
    ends = [README.find(f"\n{level[:depth]} ", begin) for depth in range(1, len(level) + 1)]
    part = README[begin : min((end for end in ends if end > 0), default=None)]
    for line in part.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


# ------------------------------------------------------------------ configuration


class Key(NamedTuple):
    """A row of the README's tables of keys."""

    default: str
    variable: str


def keys_of_readme() -> dict[tuple[str, str], Key]:
    found = {}
    for section in re.findall(r"^### `\[(\w+)\]`", README, flags=re.MULTILINE):
        for name, default, variable, _ in cells_below(f"### `[{section}]`"):
            if name != "key":
                own, _, short = name.strip("`").rpartition(".")
                found[own or section, short] = Key(default, variable.strip("`"))
    return found


def test_every_key_stands_in_the_readme_with_its_default() -> None:
    sections = tomllib.loads(EXAMPLE)
    expected = {(section, name): value for section in sections for name, value in sections[section].items()}
    section = ""
    for line in EXAMPLE.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif match := re.fullmatch(r"# ([a-z_]+) = .+", line):
            expected[section, match[1]] = None
    told = keys_of_readme()
    assert sorted(told) == sorted(expected)
    for key, value in expected.items():
        default = told[key].default
        if value is None:
            assert default == (NO_DEFAULT if key != ("api", "base_url") else "the region's"), key
        else:
            assert tomllib.loads(f"it = {default.strip('`')}")["it"] == value, key


def test_every_key_stands_in_the_readme_with_its_variable() -> None:
    told = keys_of_readme()
    assert {key: row.variable for key, row in told.items()} == {key: variable_name(key) for key in told}


# ------------------------------------------------------------------ commands


def program_of(verb: str) -> Any:
    program: Any = typer.main.get_command(cli)
    return program.commands[verb]


def verbs_of_program() -> dict[str, set[str]]:
    """Return each verb, `db upgrade` and the like too, with its long options."""
    program: Any = typer.main.get_command(cli)
    found = {}
    for name, command in program.commands.items():
        inner = getattr(command, "commands", None)
        for verb, one in (
            {f"{name} {sub}": inner[sub] for sub in inner}.items() if inner else [(name, command)]
        ):
            options = {option for parameter in one.params for option in parameter.opts}
            found[verb] = {option for option in options if option.startswith("--")} - {"--help"}
    return found


def usages_of_readme() -> dict[str, str]:
    """Return each verb of the README's table and how it is used there."""
    found = {}
    for cells in cells_below("## Commands"):
        if match := re.fullmatch(r"`((?:db |facets |archive )?[a-z-]+)( .*)?`", cells[0]):
            found[match[1]] = match[2] or ""
    return found


def test_the_readme_lists_the_verbs_of_the_program_and_no_others() -> None:
    assert set(usages_of_readme()) == set(verbs_of_program())


def test_the_readme_lists_the_options_of_each_verb_and_no_others() -> None:
    told = {verb: set(re.findall(r"--[a-z-]+", usage)) for verb, usage in usages_of_readme().items()}
    assert told == verbs_of_program()


def test_the_exit_codes_of_the_readme_are_the_programs() -> None:
    codes = {getattr(errors, name) for name in dir(errors) if name.startswith("EXIT_")} | {EXIT_READER_GONE}
    told = {int(cells[0]) for cells in cells_below("## Commands") if cells[0].isdigit()}
    assert told == codes
    for cells in cells_below("## Commands"):
        if len(cells) == 3 and cells[0].startswith("`"):
            assert {int(code) for code in re.findall(r"\d+", cells[2])} <= codes, cells[0]


def test_the_test_command_of_the_readme_is_the_one_of_ci() -> None:
    (line,) = [block.text for block in blocks() if block.language == "sh" and "pytest" in block.text]
    words = shlex.split(line)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (ci_line,) = [shlex.split(one) for one in ci.splitlines() if "-m pytest -n" in one]
    assert words[words.index(".venv/bin/python") + 1 :] == ci_line[ci_line.index("-m") :]
    (extras,) = {word for word in words if word.startswith(".[")}
    assert f"'{extras}'" in ci


def test_the_walkthrough_names_what_the_sandbox_prints() -> None:
    at = [number for number, block in enumerate(blocks()) if block.text.endswith("maia-sync sandbox\n")]
    assert len(at) == 1
    lines = [shlex.split(line, comments=True) for line in blocks()[at[0] + 1].text.splitlines()]
    exported = dict(word.split("=", 1) for verb, *words in lines if verb == "export" for word in words)
    options = {one.name: one for one in program_of("sandbox").params}
    assert load_settings(environ=exported).api.base_url == f"http://127.0.0.1:{options['port'].default}"
    (tracked,) = [words[2:] for words in lines if words[1:2] == ["track"]]
    tasks, seed = options["tasks"].default, options["seed"].default
    assert tracked == list(make_world(seed=seed, tasks=tasks, events_per_task=0).logs)[: len(tracked)]


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize("table", list(metadata.tables))
def test_every_column_of_a_table_is_explained(table: str) -> None:
    told = [cells[0].strip("`") for cells in cells_below(f"### `{table}`") if cells[0] != "column"]
    assert told == [column.name for column in metadata.tables[table].columns]


def test_no_other_table_is_explained() -> None:
    assert sorted(re.findall(r"^### `(\w+)`:", README, flags=re.MULTILINE)) == sorted(metadata.tables)


# ------------------------------------------------------------------ views


def columns_of_view(url: str, view: str) -> list[str]:
    with closing(sqlite3.connect(url)) as connection:
        return [column[0] for column in connection.execute(f"SELECT * FROM {view} LIMIT 0").description]


def test_every_view_is_explained_column_by_column(filled: Callable[..., str], sqlite_url: str) -> None:
    file = filled(sqlite_url)
    with closing(sqlite3.connect(file)) as connection:
        views = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    told = {cells[0].strip("`"): cells[2] for cells in cells_below("### Views") if cells[0] != "view"}
    assert set(told) == views
    counts = columns_of_view(file, "v_task")
    counts = counts[counts.index("turns") : counts.index("last_polled_at")]
    shared = {
        "v_event": set(columns_of_view(file, "v_event")),  # those of task_event, explained there
        "v_turn": set(counts),
        "v_hourly": set(columns_of_view(file, "v_daily")),
    }
    for view in sorted(views):
        named = set(re.findall(r"`(\w+)`", told[view]))
        columns = set(columns_of_view(file, view))
        assert columns <= named | shared.get(view, set()), view
        assert (
            named - {"ok", "error", "id", "order", "outcome", "v_task", "v_daily", "task_event"} <= columns
        ), view


# ------------------------------------------------------------------ queries


ODD = (
    b'"no object"',
    b'{"groupId":"g"}',
    b'{"data":17,"surprise":true}',
    b'{"data":{"type":"later"},"timestamp":"2500-01-01T00:00:00Z"}',
)
HALF_A_PAIR = b'{"data":{"type":"odd","text":"\\ud800 and \\u0000"},"timestamp":"2026-01-06T00:00:00Z"}'


def busy_world() -> World:
    world = make_world(seed=5, tasks=2, events_per_task=120)
    next(iter(world.logs.values())).append(*ODD)
    return world


def meddle(world: World) -> None:
    log = list(world.logs.values())[1]
    place = next(at for at, event in enumerate(log.events) if b'"userMessage"' in event)
    log.replace(place, log.events[place].replace(b'"text":"', b'"text":"(edited) ', 1))
    log.remove(place + 2)


@pytest.fixture
def filled(
    serve: Callable[[World], SandboxServer], environ_for: Callable[..., dict[str, str]]
) -> Callable[..., str]:
    """Return a function that fills a database, and returns its URL for the plain driver."""

    def fill(url: str, *odd: bytes) -> str:
        world = busy_world()
        next(iter(world.logs.values())).append(*odd)
        server = serve(world)
        with open_app(load_settings(environ=environ_for(server.url, url))) as app:
            with app.database.transaction() as tx:
                upsert_tasks(tx, list(world.logs))
            assert app.sync().status == "succeeded"
            meddle(world)
            report = app.sync(full=True)
            assert (report.changed, report.vanished) == (1, 1)
        return url.replace("+psycopg", "", 1).removeprefix("sqlite:///")

    return fill


def queries(dialect: str) -> list[Block]:
    return [block for block in blocks() if block.language in ("sql", f"sql {dialect}")]


def test_there_are_enough_queries() -> None:
    assert len([block for block in blocks() if block.language == "sql"]) >= FEWEST_QUERIES
    assert {block.language for block in blocks() if block.language.startswith("sql")} == {
        "sql",
        "sql duckdb",
        "sql sqlite",
        "sql postgresql",
    }


def test_every_query_finds_something_on_sqlite(filled: Callable[..., str], sqlite_url: str) -> None:
    with closing(sqlite3.connect(filled(sqlite_url))) as connection:
        for block in queries("sqlite"):
            assert connection.execute(block.text).fetchall(), f"README.md, line {block.line}: no row"


def test_every_query_finds_something_on_postgresql_whatever_payloads_hold(
    filled: Callable[..., str], new_postgresql_database: Callable[[], str]
) -> None:
    (view,) = [block for block in queries("postgresql") if block.text.startswith("CREATE")]
    asking = [block for block in queries("postgresql") if block is not view]
    url = new_postgresql_database()
    with psycopg.connect(url, autocommit=True) as connection:
        has_view = connection.info.server_version >= 160_000
        filled(url, *([HALF_A_PAIR] if has_view else []))
        if has_view:
            looking_in = next(block for block in asking if "->>" in block.text)
            with pytest.raises(psycopg.DataError):
                connection.execute(looking_in.text.encode())
            connection.execute(view.text.encode())
        for block in asking:
            assert connection.execute(block.text.encode()).fetchall(), f"README.md, line {block.line}: no row"


def test_digests_can_be_recomputed_as_the_readme_does(
    filled: Callable[..., str], sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = [block for block in blocks() if block.language == "python" and "hashlib" in block.text]
    path = filled(sqlite_url, HALF_A_PAIR)
    with closing(sqlite3.connect(path)) as connection:
        scope = {"connection": connection}
        exec(block.text.replace('sqlite3.connect("maia_sync.db")', "connection"), scope)
        (rows,) = connection.execute("SELECT count(*) FROM task_event").fetchone()
    assert capsys.readouterr().out == f"{rows - 2} digests are right, 0 are wrong, 2 hold more than data\n"


def test_every_link_of_the_readme_leads_somewhere() -> None:
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert links
    for link in links:
        found = link[1:] in anchors if link.startswith("#") else (ROOT / link).is_file()
        assert found, link


# ------------------------------------------------------------------ recipes


def test_every_variable_that_the_readme_names_is_one() -> None:
    known = {variable_name((section, name)) for section, names in KEYS.items() for name in names}
    named = set(re.findall(r"MAIA_SYNC_[A-Z_]+[A-Z]", README))
    assert named - known <= {
        "MAIA_SYNC_CONFIG",
        "MAIA_SYNC_TEST_DATABASE_URL",
        *(anchor.SIZE, anchor.ORIGIN),
    }


def test_every_key_that_the_readme_names_is_one() -> None:
    named = re.findall(rf"`({'|'.join(KEYS)})\.([a-z_]+)[`.]", README)
    assert {section for section, _ in named} >= {"api", "database", "schedule", "web", "log"}
    assert [(section, name) for section, name in named if name not in KEYS[section]] == []


def recipe(language: str) -> str:
    (text,) = [block.text for block in blocks() if block.language == language]
    return text


def unit_of_readme() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(recipe("ini"))
    return unit["Service"]


def pod_of_readme() -> dict[str, Any]:
    pod: dict[str, Any] = yaml.safe_load(recipe("yaml"))["spec"]["template"]["spec"]
    return pod


def command_lines() -> Iterator[list[str]]:
    """Yield the words behind each `maia-sync` in recipes and shell blocks."""
    service = unit_of_readme()
    shells = [block.text for block in blocks() if block.language in ("sh", "text")]
    lines = [service["ExecStartPre"], service["ExecStart"], *"\n".join(shells).splitlines()]
    for line in lines:
        for part in line.split("&&"):
            program, found, rest = part.partition("maia-sync ")
            if found and program.rpartition(" ")[2] in ("", ".venv/bin/", "/opt/maia-sync/bin/"):
                yield shlex.split(rest, comments=True)
    pod = pod_of_readme()
    for container in (*pod["initContainers"], *pod["containers"]):
        yield container["args"]
    yield json.loads(recipe("dockerfile").splitlines()[-1].removeprefix("CMD "))


def test_every_command_line_of_the_readme_is_one() -> None:
    verbs = verbs_of_program()
    called = set()
    for line in command_lines():
        words = line[2:] if line[0] == "--config" else line
        verb = next((one for one in (" ".join(words[:2]), words[0]) if one in verbs), "")
        assert verb, line
        assert {word for word in words if word.startswith("--")} <= verbs[verb], line
        called.add(verb)
    assert called >= {"run", "sync", "db upgrade", "init", "track"}


def test_the_unit_fits_how_the_daemon_lives() -> None:
    service = unit_of_readme()
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert float(service["TimeoutStopSec"]) > SECONDS_TO_STOP


def test_the_deployment_fits_how_the_daemon_lives() -> None:
    pod = pod_of_readme()
    assert pod["terminationGracePeriodSeconds"] > SECONDS_TO_STOP
    (container,) = pod["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    port = int(env["MAIA_SYNC_WEB__BIND"].rpartition(":")[2])
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")]
    assert {probe["path"] for probe in probes} == OPEN_PATHS, "probes have no token"
    assert [probe["port"] for probe in probes] == [port, port]
    assert container["ports"] == [{"containerPort": port}]
    (folder,) = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [value for name, value in env.items() if name.endswith("_FILE")]
    assert len(files) == 3
    assert all(file.startswith(f"{folder}/") for file in files)


def test_the_image_starts_maia_sync_as_somebody_without_rights() -> None:
    lines = recipe("dockerfile").splitlines()
    assert 'ENTRYPOINT ["maia-sync"]' in lines
    assert f"USER {pod_of_readme()['securityContext']['runAsUser']}" in lines


# ------------------------------------------------------------------ metrics, logs, Citus


def test_the_metrics_of_the_readme_are_the_programs() -> None:
    gauges = Gauges(
        tasks={},
        due=0,
        reconciles_due=0,
        failing=0,
        over_max_lag=0,
        largest_lag_seconds=0,
        leases_of_this_worker=0,
        leases_of_others=0,
        quarantined=0,
        database_bytes=0,
        archive_waiting=0,
        archived_at=ManualClock().now(),
    )
    body, _ = asyncio.run(Metrics(read=lambda: gauges, clock=ManualClock()).render())
    names = set(re.findall(r"^# TYPE maia_sync_(\w+)", body.decode(), flags=re.MULTILINE))
    rows = [cells[0] for cells in cells_below("### Looking after it") if not cells[0].startswith("metric")]
    assert set(re.findall(r"`(\w+)", " ".join(rows))) == names
    assert set(re.findall(r"\bmaia_sync_([a-z]\w+)", README)) - {"db"} <= names, "an alert of no metric"


def test_the_events_of_logs_that_the_readme_names_are_the_programs() -> None:
    (named,) = re.findall(r"`event` \(a stable name such as(.+?)\)", README, flags=re.DOTALL)
    events = re.findall(r"`(\w+)`", named)
    package = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "maia_sync").rglob("*.py"))
    assert events
    assert [event for event in events if f'"{event}"' not in package] == []


def test_citus_is_told_to_distribute_tables_that_there_are_by_task_id() -> None:
    """That their keys allow it is held by test_migrations.py."""
    (text,) = [block.text for block in blocks() if "create_distributed_table" in block.text]
    told = re.findall(r"create_distributed_table\('(\w+)', '(\w+)'", text)
    assert told == [(table, "task_id") for table in ("task_event", "task_event_revision", "checkpoint")]
    assert all(column in metadata.tables[table].columns for table, column in told)
