from __future__ import annotations

import datetime as dt
import os
import string
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import make_url

from maia_sync.config import (
    ApiSettings,
    ArchiveSettings,
    AuthSettings,
    DatabaseSettings,
    ReportSettings,
    ScheduleSettings,
    Secret,
    Settings,
    WebSettings,
    config_path,
    load_settings,
    variable_name,
)
from maia_sync.config_keys import KEYS
from maia_sync.errors import EXIT_CONFIG, ConfigError
from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, WORD_LISTS, FacetsSettings
from maia_sync.settings import Cron

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
CANARY = "c4nary-Xq7"
ALL_KEYS = [(section, name) for section, names in KEYS.items() for name in names]


def problems(environ: dict[str, str] | None = None, path: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ or {})
    return list(caught.value.problems)


def from_env(**variables: str) -> Settings:
    return load_settings(environ={f"MAIA_SYNC_{name}": value for name, value in variables.items()})


def env_problems(**variables: str) -> list[str]:
    return problems({f"MAIA_SYNC_{name}": value for name, value in variables.items()})


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "maia.toml"


def written(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def test_without_file_and_variables_everything_is_default() -> None:
    assert load_settings(environ={}) == Settings()


def test_the_argument_wins_over_the_variable_and_the_variable_over_the_folder(tmp_path: Path) -> None:
    argument = written(tmp_path / "a.toml", "[api]\npage_size = 1")
    variable = written(tmp_path / "b.toml", "[api]\npage_size = 2")
    written(tmp_path / "config.toml", "[api]\npage_size = 3")
    environ = {"MAIA_SYNC_CONFIG": str(variable)}
    assert load_settings(argument, environ).api.page_size == 1
    assert load_settings(None, environ).api.page_size == 2
    assert load_settings(None, {}).api.page_size == 3
    assert load_settings(None, {"MAIA_SYNC_CONFIG": ""}).api.page_size == 3


def test_config_path_names_the_file_that_load_settings_reads() -> None:
    assert config_path(Path("a.toml"), {"MAIA_SYNC_CONFIG": "b.toml"}) == Path("a.toml")
    assert config_path(None, {"MAIA_SYNC_CONFIG": "b.toml"}) == Path("b.toml")
    assert config_path(None, {}) == Path("config.toml")


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIA_SYNC_API__PAGE_SIZE", "7")
    assert load_settings().api.page_size == 7


def test_a_named_file_that_is_missing_is_a_config_error_that_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert problems(path=missing) == [f"{missing}: cannot be read: No such file or directory"]
    assert problems({"MAIA_SYNC_CONFIG": str(missing)}) == problems(path=missing)
    # Named counts, even where the name is the one that is optional unnamed.
    assert problems(path=Path("config.toml")) == ["config.toml: cannot be read: No such file or directory"]


def test_a_folder_in_the_files_place_is_a_config_error(tmp_path: Path) -> None:
    assert problems(path=tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    (tmp_path / "config.toml").mkdir()
    assert problems() == ["config.toml: cannot be read: Is a directory"]


def test_a_path_that_no_file_can_have_is_a_config_error() -> None:
    assert len(problems(path=Path("a\0b"))) == 1
    assert len(problems(path=Path("x" * 5000))) == 1


def test_bad_toml_is_told_with_file_and_line(file: Path) -> None:
    (told,) = problems(path=written(file, "[api]\npage_size = 5\nregion = \n"))
    assert told.startswith(f"{file}: expected TOML: ")
    assert "line 3" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[api]\npage_size = 5\n\n[api]\nretries = 1\n", "line 4: section [api] stands twice"),
        ("[api]\n[api]", "line 2: section [api] stands twice"),
        ("[api.more]\n[api.more]\nx = 1", 'line 2: section ["api.more"] stands twice'),
        ("a = {b = 1}\na.c = 1", "expected TOML: Cannot mutate immutable namespace a (at end of document)"),
    ],
)
def test_a_section_that_stands_twice_is_told_as_it_is_written(file: Path, text: str, told: str) -> None:
    assert problems(path=written(file, text)) == [f"{file}: {told}"]


@pytest.mark.parametrize(
    "line", [f"token = {CANARY}", f'token = "{CANARY}', f"token {CANARY}", f'token = "{CANARY}" x']
)
def test_bad_toml_is_told_without_the_line_itself(file: Path, line: str) -> None:
    (told,) = problems(path=written(file, f"[auth]\n{line}\n"))
    assert CANARY not in told


def test_bytes_that_are_not_utf8_are_told_with_file_and_line(file: Path) -> None:
    file.write_bytes(b"[api]\n\npage_size = 5 # \xff\n")
    assert problems(path=file) == [f"{file}: line 3: expected UTF-8 text"]


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "[api]\npage_size = 0x" + "f" * 9999]
)
def test_monstrous_toml_is_a_config_error_too(file: Path, text: str) -> None:
    assert len(problems(path=written(file, text))) == 1


def test_a_byte_order_mark_is_no_problem(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf[api]\r\npage_size = 5\r\n")
    assert load_settings(file, {}).api.page_size == 5


def test_the_environment_wins_over_the_file(file: Path) -> None:
    written(file, '[api]\npage_size = 5\nconcurrency = 3\n[log]\nlevel = "debug"')
    settings = load_settings(file, {"MAIA_SYNC_API__PAGE_SIZE": "6", "MAIA_SYNC_LOG__LEVEL": "error"})
    assert (settings.api.page_size, settings.api.concurrency, settings.log.level) == (6, 3, "error")


def test_the_environment_heals_a_bad_value_of_the_file(file: Path) -> None:
    written(file, '[api]\npage_size = "many"')
    assert load_settings(file, {"MAIA_SYNC_API__PAGE_SIZE": "6"}).api.page_size == 6


def test_an_empty_variable_counts_as_not_set(file: Path) -> None:
    written(file, "[api]\npage_size = 5")
    assert (
        load_settings(file, {"MAIA_SYNC_API__PAGE_SIZE": "", "MAIA_SYNC_AUTH__TOKEN": ""}).api.page_size == 5
    )


def test_every_key_can_be_set_by_a_variable(tmp_path: Path) -> None:
    ca_file = written(tmp_path / "ca.pem", "")
    values = {
        "api.region": "us1", "api.base_url": "https://x.example/dpc", "api.page_size": "5",
        "api.concurrency": "6",
        "api.requests_per_second": "2.5", "api.timeout": "1m", "api.page_deadline": "90",
        "api.order": "oldest-first", "api.transport": "aiohttp",
        "api.max_page_bytes": "5000000", "api.ca_file": str(ca_file), "api.allow_insecure_http": "yes",
        "api.retries": "0", "api.backoff": "20ms", "auth.client_id": "me", "auth.client_secret": "s3cret",
        "auth.token_url": "https://y.example/token", "auth.audience": "https://z.example",
        "database.url": "postgresql://u@h/d", "database.password_file": "pw",
        "database.synchronous": "full",
        "schedule.poll": "1s", "schedule.min_interval": "2s", "schedule.max_interval": "3s",
        "schedule.reconcile": "1d", "schedule.turn_pages": "7", "schedule.max_lag": "6m",
        "schedule.discovery_timeout": "8s", "database.patience": "9s",
        "schedule.tasks_file": "t.txt", "schedule.discovery_command": "list --all",
        "schedule.discovery": "4s",
        "schedule.worker": "w", "schedule.heartbeat_url": "http://hb.example/x?y=1",
        "schedule.lease": "5s",
        "report.schedule": "0 6 * * mon", "report.file": "r/%Y-%m-%d.html", "report.since": "30d",
        "archive.url": "s3://bucket/maia/", "archive.key_file": "k/it.key",
        "archive.verifier_key_file": "k/v",
        "archive.schedule": "1h", "archive.anchor_command": "publish it",
        "archive.anchor_url": "https://w.example/add", "archive.retention": "30d",
        "archive.retention_below_six_months": "true", "archive.digest_key_file": "k/d",
        "web.bind": "[::]:80", "web.token_file": "t", "log.format": "json", "log.level": "WARNING",
        **{f"facets.{name}": '["a.b", "c"]' for name in (*TEXT_PATHS, *NUMBER_PATHS, *WORD_LISTS)},
        "facets.cost": "a, b * 0.01", "facets.time_zone": "Europe/Berlin",
    }  # fmt: skip
    settings = load_settings(
        environ={variable_name(tuple(key.split("."))): text for key, text in values.items()}
    )  # type: ignore[arg-type]
    assert settings.api == ApiSettings(
        region="us1", base_url="https://x.example/dpc", page_size=5, concurrency=6, requests_per_second=2.5,
        timeout=60.0, page_deadline=90.0, order="oldest-first", max_page_bytes=5_000_000, ca_file=ca_file,
        transport="aiohttp", allow_insecure_http=True, retries=0, backoff=0.02,
    )  # fmt: skip
    lists = dict.fromkeys((*TEXT_PATHS, *NUMBER_PATHS, *WORD_LISTS), ("a.b", "c"))
    assert settings.facets == FacetsSettings(
        **{**lists, "cost": ("a", "b * 0.01")}, time_zone="Europe/Berlin"
    )
    assert settings.auth == AuthSettings(
        client_id="me",
        client_secret=Secret("s3cret"),
        token_url="https://y.example/token",
        audience="https://z.example",
    )
    assert settings.database == DatabaseSettings(
        url="postgresql+psycopg://u@h/d", password_file=Path("pw"), synchronous="full", patience=9.0
    )
    assert settings.schedule == ScheduleSettings(
        poll=1.0, min_interval=2.0, max_interval=3.0, reconcile=86400.0, tasks_file=Path("t.txt"),
        turn_pages=7, max_lag=360.0, discovery_timeout=8.0,
        discovery_command=("list", "--all"), discovery=4.0, worker="w",
        heartbeat_url=Secret("http://hb.example/x?y=1"), lease=5.0,
    )  # fmt: skip
    assert settings.report == ReportSettings(
        schedule=Cron(minute="0", hour="6", day="*", month="*", weekday="mon"),
        file=Path("r/%Y-%m-%d.html"),
        since=2_592_000.0,
    )
    assert settings.archive == ArchiveSettings(
        url="s3://bucket/maia", key_file=Path("k/it.key"), verifier_key_file=Path("k/v"), schedule=3600.0,
        anchor_command=("publish", "it"), anchor_url=Secret("https://w.example/add"),
        retention=30 * 86_400.0, retention_below_six_months=True, digest_key_file=Path("k/d"),
    )  # fmt: skip
    assert settings.web == WebSettings(bind="[::]:80", token_file=Path("t"))
    assert (settings.log.format, settings.log.level) == ("json", "warning")
    others = {
        ("auth", "token"),
        ("auth", "token_file"),
        ("auth", "token_command"),
        ("auth", "client_secret_file"),
    }
    assert {tuple(key.split(".")) for key in values} == set(ALL_KEYS) - others


SHORT_LEASE = (
    'expected a duration of at least 5s, such as "500ms", "30s", "15m", "2h", "7d" or a number of seconds'
)


def test_every_problem_is_told_at_once_each_with_its_place(file: Path) -> None:
    written(
        file,
        """
        [api]
        page_size = "many"
        concurency = 3
        allow_insecure_http = "perhaps"
        [shedule]
        poll = "30s"
        [schedule]
        lease = "1s"
        """,
    )
    told = problems({"MAIA_SYNC_LOG__LEVEL": "loud", "MAIA_SYNC_LOG__COLOR": "1"}, file)
    assert told == [
        f"{file}: api.concurency: no such key; did you mean api.concurrency?",
        f"{file}: shedule: no such section; did you mean schedule?",
        "environment: MAIA_SYNC_LOG__COLOR: no such setting",
        f'{file}: api.page_size: expected a whole number from 1 to 1000, got "many"',
        f'{file}: api.allow_insecure_http: expected true or false, got "perhaps"',
        f'{file}: schedule.lease: {SHORT_LEASE}, got "1s"',
        'environment: MAIA_SYNC_LOG__LEVEL: expected "debug" or "info" or "warning" or "error", got "loud"',
    ]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "ARCHIVE__RETENTION",
            "400",
            'a duration with its unit, such as "400d"; there are no months or years',
        ),
        ("ARCHIVE__RETENTION", "1y", 'a duration such as "400d", as there are no months or years: a year is'),
        (
            "SCHEDULE__POLL",
            "12M",
            'a duration such as "400d", as there are no months or years: a year is 365d',
        ),
    ],
)
def test_months_years_and_a_retention_without_a_unit_are_told_apart(
    tmp_path: Path, key: str, value: str, told: str
) -> None:
    (problem,) = problems({f"MAIA_SYNC_{key}": value}, written(tmp_path / "empty.toml", ""))
    assert problem.startswith(f"environment: MAIA_SYNC_{key}: expected {told}")


def test_payloads_stay_for_six_months_unless_it_is_said_that_they_may_not() -> None:
    archive = {"ARCHIVE__URL": "a", "ARCHIVE__KEY_FILE": "k", "ARCHIVE__SCHEDULE": "1h"}
    assert from_env(**archive, ARCHIVE__RETENTION="184d").archive.retention == 184 * 86_400.0
    short = {**archive, "ARCHIVE__RETENTION": "183.99d"}
    (told,) = env_problems(**short)
    assert "ARCHIVE__RETENTION: expected 184d, which is six months, or more" in told
    assert env_problems(**short, ARCHIVE__RETENTION_BELOW_SIX_MONTHS="false") == [told]
    assert from_env(**short, ARCHIVE__RETENTION_BELOW_SIX_MONTHS="true").archive.retention == 183.99 * 86_400
    del archive["ARCHIVE__SCHEDULE"]
    (told,) = env_problems(**archive, ARCHIVE__RETENTION="400d")
    assert "expected archive.schedule beside it" in told


def test_problems_of_the_file_and_of_the_environment_are_told_together(tmp_path: Path) -> None:
    told = problems({"MAIA_SYNC_LOG__LEVEL": "loud"}, tmp_path / "none.toml")
    assert [line.partition(":")[0] for line in told] == [str(tmp_path / "none.toml"), "environment"]


def test_a_config_error_exits_with_3() -> None:
    assert ConfigError.exit_code == EXIT_CONFIG == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("page_size = 5", "page_size: no such section; did you mean api.page_size?"),
        ("[api]\nlease = 5", "api.lease: no such key; did you mean schedule.lease?"),
        ("[api]\nzzzzzz = 5", "api.zzzzzz: no such key"),
        ("[zzzzzz]", "zzzzzz: no such section"),
        ("api = 5", "api: expected a section, [api]"),
        ("[[api]]\npage_size = 5", "api: expected a section, [api]"),
        ("[facets]\nx = 1", "facets.x: no such key"),
        ("[archive]\nx = 1", "archive.x: no such key"),
        ('[api]\n"p\\u0007" = 1', 'api."p\\u0007": no such key'),
        ("[api.page_size]\nx = 1", "api.page_size: expected a whole number from 1 to 1000, got a table"),
        ("[api]\npage_size = [1]", "api.page_size: expected a whole number from 1 to 1000, got a list"),
        (
            "[api]\npage_size = 2020-01-01",
            "api.page_size: expected a whole number from 1 to 1000, got a date or a time",
        ),
        ("[api]\npage_size = true", "api.page_size: expected a whole number from 1 to 1000, got true"),
        ("[api]\npage_size = 5.0", "api.page_size: expected a whole number from 1 to 1000, got 5.0"),
        ('[api]\npage_size = "5"', 'api.page_size: expected a whole number from 1 to 1000, got "5"'),
    ],
)
def test_what_is_unknown_or_of_another_shape_in_the_file_is_refused(file: Path, text: str, told: str) -> None:
    assert problems(path=written(file, text)) == [f"{file}: {told}"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MAIA_SYNC_API__PAGESIZE", "; did you mean MAIA_SYNC_API__PAGE_SIZE?"),
        ("MAIA_SYNC_API_PAGE_SIZE", "; did you mean MAIA_SYNC_API__PAGE_SIZE?"),
        ("MAIA_SYNC_api__page_size", "; did you mean MAIA_SYNC_API__PAGE_SIZE?"),
        ("maia_sync_api__page_size", "; did you mean MAIA_SYNC_API__PAGE_SIZE?"),
        ("MAIA_SYNC_SHEDULE__POL", "; did you mean MAIA_SYNC_SCHEDULE__POLL?"),
        ("MAIA_SYNC_API__LEASE", "; did you mean MAIA_SYNC_SCHEDULE__LEASE?"),
        ("MAIA_SYNC_Q__Q", ""),
        ("MAIA_SYNC_FACETS__X", ""),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(name: str, hint: str) -> None:
    assert problems({name: "5"}) == [f"environment: {name}: no such setting{hint}"]


def test_variables_of_others_are_left_alone() -> None:
    environ = {
        "MAIA_SYNC_TEST_DATABASE_URL": "x",
        "MAIA_SYNC_PORT_8321_TCP": "tcp://10.0.0.1:8321",
        "MAIA_SYNC_SERVICE_HOST": "10.0.0.1",
        "PATH": "x",
        "OTHER__THING": "x",
    }
    assert load_settings(environ=environ) == Settings()


HTTP_RULE = [
    ("https://x.example", True), ("http://127.0.0.1:80/x", True), ("http://127.9.9.9", True),
    ("http://[::1]:80", True), ("http://localhost:9", True), ("http://LOCALHOST", True),
    ("http://x.example", False),
    ("http://128.0.0.1", False), ("http://0.0.0.0", False), ("http://10.0.0.1", False),
    ("http://[::2]", False),
    ("http://[::]", False), ("http://localhost.evil.example", False),
    ("http://127.0.0.1.evil.example", False),
    ("http://[::ffff:10.0.0.1]", False),
]  # fmt: skip


@pytest.mark.parametrize("key", ["API__BASE_URL", "AUTH__TOKEN_URL"])
@pytest.mark.parametrize(("url", "fine"), HTTP_RULE)
def test_plain_http_is_refused_except_to_loopback(key: str, url: str, fine: bool) -> None:
    if fine:
        from_env(**{key: url})
        return
    (told,) = env_problems(**{key: url})
    assert told.startswith(f"environment: MAIA_SYNC_{key}: expected https://")
    assert "api.allow_insecure_http" in told
    from_env(**{key: url, "API__ALLOW_INSECURE_HTTP": "true"})


def test_both_addresses_are_told_and_each_is_judged_alone() -> None:
    assert len(env_problems(API__BASE_URL="http://x.example", AUTH__TOKEN_URL="http://y.example")) == 2
    told = env_problems(API__BASE_URL="nonsense", AUTH__TOKEN_URL="http://y.example")
    assert [line.split(": ")[1] for line in told] == ["MAIA_SYNC_API__BASE_URL", "MAIA_SYNC_AUTH__TOKEN_URL"]


def test_more_than_one_kind_is_an_error_that_says_where_each_is(file: Path) -> None:
    written(file, '[auth]\ntoken_file = "t"\nclient_id = "c"\nclient_secret = "s"')
    (told,) = problems({"MAIA_SYNC_AUTH__TOKEN": CANARY}, file)
    assert "expected one kind of credential" in told
    assert f"{file}: auth.token_file" in told
    assert "environment: MAIA_SYNC_AUTH__TOKEN" in told
    assert f"{file}: auth.client_id" in told


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"AUTH__CLIENT_ID": "c"},
            "CLIENT_ID: expected auth.client_secret or auth.client_secret_file beside it",
        ),
        ({"AUTH__CLIENT_SECRET": "s"}, "CLIENT_SECRET: expected auth.client_id beside it"),
        ({"AUTH__CLIENT_SECRET_FILE": "s"}, "CLIENT_SECRET_FILE: expected auth.client_id beside it"),
        (
            {"AUTH__CLIENT_ID": "c", "AUTH__CLIENT_SECRET": "s", "AUTH__CLIENT_SECRET_FILE": "s"},
            "CLIENT_SECRET_FILE: expected no auth.client_secret beside it; remove one of the two",
        ),
    ],
)
def test_client_credentials_are_whole_and_have_one_secret(variables: dict[str, str], told: str) -> None:
    assert env_problems(**variables) == [f"environment: MAIA_SYNC_AUTH__{told}"]


def test_rules_over_several_keys_wait_until_each_key_is_right() -> None:
    (told,) = env_problems(AUTH__CLIENT_ID="c", AUTH__CLIENT_SECRET=" ")
    assert "CLIENT_SECRET: expected the secret of an API client" in told
    (told,) = env_problems(API__BASE_URL="http://x.example", API__ALLOW_INSECURE_HTTP="perhaps")
    assert "ALLOW_INSECURE_HTTP" in told
    (told,) = env_problems(SCHEDULE__MIN_INTERVAL="1h", SCHEDULE__MAX_INTERVAL="soon")
    assert "MAX_INTERVAL" in told
    (told,) = env_problems(WEB__BIND="0.0.0.0:80", WEB__TOKEN_FILE=" ")
    assert "TOKEN_FILE" in told


def test_the_shortest_interval_is_no_longer_than_the_longest(file: Path) -> None:
    assert env_problems(SCHEDULE__MIN_INTERVAL="2h", SCHEDULE__MAX_INTERVAL="1h") == [
        (
            "environment: MAIA_SYNC_SCHEDULE__MIN_INTERVAL: expected schedule.min_interval to be no longer "
            "than schedule.max_interval, got 7200s and 3600s"
        ),
    ]
    (told,) = problems(path=written(file, '[schedule]\nmax_interval = "5s"'))
    assert told.startswith(f"{file}: schedule.max_interval: ")
    from_env(SCHEDULE__MIN_INTERVAL="1h", SCHEDULE__MAX_INTERVAL="1h")


@pytest.mark.parametrize(("name", "other"), [("SCHEDULE", "file"), ("FILE", "schedule")])
def test_a_report_needs_both_a_time_and_a_place(name: str, other: str) -> None:
    value = {"SCHEDULE": "1d", "FILE": "report.html"}[name]
    assert env_problems(**{f"REPORT__{name}": value}) == [
        f"environment: MAIA_SYNC_REPORT__{name}: expected report.{other} beside it"
    ]


@pytest.mark.parametrize("file", ["report", "report.pdf", "%y.html", "%.md", "100%%%.md", "%-d.csv"])
def test_a_report_whose_format_or_date_nobody_knows_is_refused(file: str) -> None:
    (problem,) = env_problems(REPORT__SCHEDULE="1d", REPORT__FILE=file)
    assert problem.startswith("environment: MAIA_SYNC_REPORT__FILE: expected the path of a file that ends")


@pytest.mark.parametrize("file", ["r.html", "R.HTM", "%Y/%m/%d-%H%M.md", "100%%.csv", "a.b/c.json"])
def test_a_report_can_be_kept_by_date_and_in_four_formats(file: str) -> None:
    assert from_env(REPORT__SCHEDULE="1d", REPORT__FILE=file).report.file == Path(file)


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "maia.example:80", "localhost.x:80"]
)
def test_web_beyond_loopback_needs_a_token_file(bind: str) -> None:
    assert env_problems(WEB__BIND=bind) == [
        (
            "environment: MAIA_SYNC_WEB__BIND: expected web.token_file beside it, as this address can "
            "be reached from other machines"
        ),
    ]
    from_env(WEB__BIND=bind, WEB__TOKEN_FILE="t")


def test_a_password_in_the_url_and_a_password_file_contradict_each_other(tmp_path: Path) -> None:
    url = f"postgresql://u:{CANARY}@h/d"
    assert env_problems(DATABASE__URL=url, DATABASE__PASSWORD_FILE="pw") == [
        (
            "environment: MAIA_SYNC_DATABASE__PASSWORD_FILE: expected no password in database.url beside it; "
            "remove one of the two"
        ),
    ]
    with pytest.raises(ConfigError, match=r"expected no password in database\.url beside it"):
        DatabaseSettings(url=url, password_file=tmp_path).resolve_url()


def test_a_password_file_for_sqlite_is_refused() -> None:
    (told,) = env_problems(DATABASE__PASSWORD_FILE="pw")
    assert "expected a PostgreSQL database.url beside it" in told


def test_a_secret_under_a_misspelt_key_or_section_is_not_told(file: Path) -> None:
    told = problems({"MAIA_SYNC_AUTH__TOKN": CANARY}, written(file, f'auth = "{CANARY}"\ntoken = "{CANARY}"'))
    assert len(told) == 3
    assert CANARY not in "".join(told)


TOML_VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.integers(-(10**400), 10**400),
        st.floats(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(string.digits + "smhd.:/@[]?%-~ "),
        st.sampled_from(["https://", "postgresql://", "sqlite:///", "127.0.0.1:"]).flatmap(
            lambda start: st.text().map(lambda rest: start + rest)
        ),
        st.datetimes(),
        st.dates(),
        st.times(),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def loads_or_is_refused(
    document: dict[str, object], environ: dict[str, str], patch: pytest.MonkeyPatch
) -> None:
    patch.setattr("maia_sync.config.tomllib.loads", lambda _: document)
    try:
        settings = load_settings(Path(os.devnull), environ)
    except ConfigError as error:
        str(error).encode("ascii")
        return
    assert repr(settings)
    assert make_url(settings.database.resolve_url())


@given(key=st.sampled_from(ALL_KEYS), value=TOML_VALUES)
@example(key=("api", "page_size"), value=10**6000)
@example(key=("api", "timeout"), value=10**6000)
@example(key=("log", "level"), value=dt.time(1, 2))
def test_any_value_of_any_key_loads_or_is_a_config_error(key: tuple[str, str], value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        loads_or_is_refused({key[0]: {key[1]: value}}, {}, patch)


@given(document=st.dictionaries(st.sampled_from([*KEYS, "x"]) | st.text(), TOML_VALUES, max_size=4))
def test_any_document_loads_or_is_a_config_error(document: dict[str, object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        loads_or_is_refused(document, {}, patch)


@given(
    key=st.sampled_from([variable_name(key) for key in ALL_KEYS])
    | st.text().map(lambda end: "MAIA_SYNC_" + end),
    text=st.text() | st.text(string.digits + "[]\"',smhd.:/@?%-~ "),
)
def test_any_variable_loads_or_is_a_config_error(key: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        loads_or_is_refused({}, {key: text}, patch)


@given(content=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_file_loads_or_is_a_config_error(content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch, suppress(ConfigError):
        patch.setattr(Path, "read_bytes", lambda _: content)
        load_settings(Path("x.toml"), {})


def test_importing_the_configuration_loads_no_http_and_no_database_library() -> None:
    heavy = "{'httpx', 'sqlalchemy', 'pydantic', 'rich', 'typer'}"
    code = f"import sys, maia_sync.config; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=EXAMPLE.parent
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["SCHEDULE", "ANCHOR_COMMAND", "ANCHOR_URL"])
def test_what_serves_an_archive_needs_one(name: str) -> None:
    value = {"SCHEDULE": "1d", "ANCHOR_COMMAND": "publish", "ANCHOR_URL": "https://w.example"}[name]
    told = env_problems(**{f"ARCHIVE__{name}": value, "ARCHIVE__KEY_FILE": "it.key"})
    assert told == [f"environment: MAIA_SYNC_ARCHIVE__{name}: expected archive.url beside it"]


def test_an_archive_by_schedule_needs_a_key() -> None:
    (told,) = env_problems(ARCHIVE__SCHEDULE="1d", ARCHIVE__URL="there")
    assert told.endswith("expected archive.key_file beside it; `maia-sync archive keygen` makes one")


@pytest.mark.parametrize(
    "url",
    ["archive", "/srv/archive", "~/a", "file:///srv/a", "s3://bucket", "s3://b/x/y", "gs://b/x", "az://c"],
)
def test_the_places_of_an_archive(url: str) -> None:
    assert from_env(ARCHIVE__URL=url).archive.url == url


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3:///x", "file://host/x", "file:///", "https://x.example/a", "ftp://x", "s3://key:c4nary@b/x",
     "s3://b/x?c4nary=1", "s3://b/x#c4nary", "s3://c4nary@b", "s3://[c4nary/x"],
)  # fmt: skip
def test_other_places_of_an_archive_are_refused_without_showing_them(url: str) -> None:
    (told,) = env_problems(ARCHIVE__URL=url)
    assert told.startswith("environment: MAIA_SYNC_ARCHIVE__URL: expected ")
    assert "c4nary" not in told


def test_the_verifier_key_lies_beside_the_key_unless_it_is_given() -> None:
    assert from_env(ARCHIVE__KEY_FILE="k/it.key").archive.verifier_key_file == Path("k/it.key.pub")
    assert from_env(ARCHIVE__VERIFIER_KEY_FILE="v").archive.verifier_key_file == Path("v")


def test_no_repr_shows_what_an_anchor_is_told() -> None:
    archive = from_env(
        ARCHIVE__URL="a", ARCHIVE__ANCHOR_COMMAND="publish c4nary", ARCHIVE__ANCHOR_URL="https://w/c4nary"
    ).archive
    assert "publish" in repr(archive)
    assert "c4nary" not in repr(archive)
