from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from maia_sync.config import (
    Settings,
    load_settings,
)
from maia_sync.config_keys import KEYS
from maia_sync.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5), ("30s", 30.0), ("15m", 900.0), ("2h", 7200.0), ("7d", 604_800.0), ("1.5h", 5400.0),
        ("30", 30.0), ("0.25", 0.25), (" 30s ", 30.0), ("30 s", 30.0), ("3650d", 315_360_000.0),
    ],
)  # fmt: skip
def test_a_duration_is_seconds(file: Path, text: str, seconds: float) -> None:
    assert from_env(SCHEDULE__POLL=text).schedule.poll == seconds
    assert load_settings(written(file, f'[schedule]\npoll = "{text}"'), {}).schedule.poll == seconds


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("*/5 * * * *", "*/5 * * * *"), ("0 3 * * sun", "0 3 * * sun"), ("0 3 * * 0", "0 3 * * sun"),
        ("0 3 * * 7", "0 3 * * sun"), ("0 3 * * 1-5", "0 3 * * mon,tue,wed,thu,fri"),
        ("0 3 * * 5-7", "0 3 * * fri,sat,sun"), ("0 3 * * */2", "0 3 * * sun,tue,thu,sat"),
        ("0,30 8-18/2 * JAN-mar *", "0,30 8-18/2 * jan-mar *"), ("5 4 1,15 * *", "5 4 1,15 * *"),
        ("0 3 * * MON,3", "0 3 * * mon,wed"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["poll", "reconcile", "discovery"])
def test_a_rhythm_can_be_points_in_time_as_cron_has_them(key: str, text: str, meant: str) -> None:
    settings = from_env(**{f"SCHEDULE__{key.upper()}": text})
    assert str(getattr(settings.schedule, key)) == meant


@pytest.mark.parametrize(
    "text",
    [
        "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "* * * * foo", "5-1 * * * *",
        "*/0 * * * *", "5/2 * * * *", "* * * *", "* * * * * *", "1 2 3 4 5", "a * * * *", "@daily",
        "- * * * *", "0 3 L * *", "0 3 * * mon#2", "",
    ],
)  # fmt: skip
def test_no_other_points_in_time_are_accepted(file: Path, text: str) -> None:
    (told,) = problems(path=written(file, f'[schedule]\nreconcile = "{text}"'))
    assert told.startswith(f"{file}: schedule.reconcile: expected ")


@pytest.mark.parametrize("literal", ["30", "30.0", "3e1"])
def test_a_duration_can_be_a_number_of_seconds(file: Path, literal: str) -> None:
    assert load_settings(written(file, f"[schedule]\npoll = {literal}"), {}).schedule.poll == 30.0


@pytest.mark.parametrize(
    "literal",
    ['"0s"', '"-5s"', '"5w"', '"s"', '""', '"1h30m"', '"5 minutes"', '"٣s"', '"3651d"', "0", "-1",
    "nan", "inf",
     "true", "[]", "1e300", "0x" + "f" * 400, '"' + "9" * 500 + 's"'],
)  # fmt: skip
def test_no_other_duration_is_accepted(file: Path, literal: str) -> None:
    (told,) = problems(path=written(file, f"[schedule]\npoll = {literal}"))
    assert told.startswith(f"{file}: schedule.poll: expected a duration greater than 0")


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False), ("no", False)],
)
def test_a_flag_in_the_environment(text: str, value: bool) -> None:
    assert from_env(API__ALLOW_INSECURE_HTTP=text).api.allow_insecure_http is value


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("API__PAGE_SIZE", ["1", "1000", " 5 "], ["0", "1001", "-1", "5.0", "1_0", "five",
        "9" * 5000, "٣", "true"]),
        ("API__CONCURRENCY", ["1", "256"], ["0", "257"]),
        ("API__RETRIES", ["0", "20"], ["-1", "21"]),
        ("API__MAX_PAGE_BYTES", ["1024", "268435456"], ["0", "1023"]),
        ("API__REQUESTS_PER_SECOND", ["0.1", "50"], ["0", "-1", "nan", "inf", "1e999", "fast"]),
        ("API__REGION", ["eu1", "US1"], ["eu2", "eu1, us1"]),
        ("API__ORDER", ["auto", "oldest-first", "newest-first"], ["oldest"]),
        ("API__ALLOW_INSECURE_HTTP", ["true"], ["on", "2"]),
        ("DATABASE__SYNCHRONOUS", ["normal", "full"], ["off"]),
        ("SCHEDULE__LEASE", ["5s", "5", "1h"], ["4.9s", "4"]),
        ("SCHEDULE__WORKER", ["w-1"], [" ", "a\nb"]),
        ("SCHEDULE__HEARTBEAT_URL", ["http://h/x", "https://u:p@h/x?y#z"], ["ftp://h", "h",
        "http://", "http://a b/"]),
        ("AUTH__TOKEN", ["abc.def-_", "abc\n"], [" ", "a b", "ä", "a\nb"]),
        ("WEB__BIND", ["127.0.0.1:0", "127.9.9.9:65535", "[::1]:8321", "localhost:80"],
         ["8321", ":8321", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:x", "::1:80", "[x]:80",
         "[127.0.0.1]:80",
          "1.2.3:80", "a/b:80", "-a:80"]),
        ("LOG__FORMAT", ["console", "json"], ["text"]),
        ("LOG__LEVEL", ["debug", "INFO", "warning", "error"], ["warn"]),
    ],
)  # fmt: skip
def test_what_a_variable_may_hold(name: str, good: list[str], bad: list[str]) -> None:
    for text in good:
        from_env(**{name: text})
    for text in bad:
        (told,) = env_problems(**{name: text})
        assert told.startswith(f"environment: MAIA_SYNC_{name}: expected ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["vault", "read", "a b"]', ("vault", "read", "a b")),
        ("vault read 'a b'", ("vault", "read", "a b")),
        ("cat", ("cat",)),
        ('["a", ""]', ("a", "")),
    ],
)
def test_a_command_in_the_environment_is_a_json_list_or_a_shell_like_line(
    text: str, words: tuple[str, ...]
) -> None:
    assert from_env(AUTH__TOKEN_COMMAND=text).auth.token_command == words


@pytest.mark.parametrize(
    "text", ["[]", '[""]', "[1]", '["a", 1]', '["a\\u0000"]', '["\\ud800"]', "[", "'", " ", "[" * 100_000]
)
def test_no_other_command_is_accepted(text: str) -> None:
    (told,) = env_problems(AUTH__TOKEN_COMMAND=text)
    assert told.endswith('expected a command as a list of words, such as ["cat", "/run/token"]')


def test_a_command_in_the_file_is_a_list(file: Path) -> None:
    written(file, '[auth]\ntoken_command = ["a", "b c"]')
    assert load_settings(file, {}).auth.token_command == ("a", "b c")
    assert len(problems(path=written(file, '[auth]\ntoken_command = "a b"'))) == 1


def test_a_path_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_env(AUTH__TOKEN_FILE="~/token").auth.token_file == tmp_path / "token"
    assert len(env_problems(AUTH__TOKEN_FILE="~no-such-user-here/token")) == 1


def test_files_are_not_opened_at_load_but_ca_file_must_exist(tmp_path: Path) -> None:
    from_env(AUTH__TOKEN_FILE="missing", SCHEDULE__TASKS_FILE="missing", WEB__TOKEN_FILE="missing")
    (told,) = env_problems(API__CA_FILE="missing")
    assert told.endswith('CA_FILE: expected the path of an existing file with CA certificates, got "missing"')
    assert len(env_problems(API__CA_FILE=str(tmp_path))) == 1
    assert len(env_problems(API__CA_FILE="x" * 5000)) == 1
    assert from_env(API__CA_FILE=str(written(tmp_path / "ca.pem", ""))).api.ca_file == tmp_path / "ca.pem"


def test_trailing_slashes_of_the_address_are_cut() -> None:
    assert from_env(API__BASE_URL="https://x.example/dpc//").api.base_url == "https://x.example/dpc"
    assert from_env(API__BASE_URL="HTTPS://x.example:8443/").api.base_url == "https://x.example:8443"


@pytest.mark.parametrize(
    "url",
    ["x.example", "ftp://x.example", "https://", "https:///dpc", "https://x.example:0",
    "https://x.example:99999",
     "https://x.example:port", "https://a b", "https://ä.example", "https://[::1", "https://[zz]",
     "https://x\\y",
     "https://u:p@x.example", "https://u@x.example", "https://x.example?q=1",
     "https://x.example/#f", "https://1.2.3",
     "https://x.example/?", "https://x\ty.example", "//x.example", "https://[1.2.3.4]", "https://.."],
)  # fmt: skip
@pytest.mark.parametrize("key", ["API__BASE_URL", "AUTH__TOKEN_URL"])
def test_an_address_has_scheme_and_host_and_nothing_that_is_secret(key: str, url: str) -> None:
    (told,) = env_problems(**{key: url})
    assert told.startswith(f"environment: MAIA_SYNC_{key}: expected an ")
    assert "x.example" not in told


@pytest.mark.parametrize(
    ("url", "kept", "dialect"),
    [
        ("sqlite:///a.db", "sqlite:///a.db", "sqlite"),
        ("sqlite+pysqlite:////var/lib/ä b.db", "sqlite:////var/lib/ä b.db", "sqlite"),
        ("postgresql+psycopg://u:p%40@h:5432/d?sslmode=require", None, "postgresql"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d", "postgresql"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d", "postgresql"),
        ("postgresql+psycopg://[::1]:5432/d", None, "postgresql"),
        ("postgresql+psycopg:///d?host=/run/postgresql", None, "postgresql"),
        ("postgresql+psycopg://u@/d", None, "postgresql"),
    ],
)
def test_the_databases_that_are_accepted(url: str, kept: str | None, dialect: str) -> None:
    database = from_env(DATABASE__URL=url).database
    assert database.url == (kept or url)
    assert database.dialect == dialect
    assert database.resolve_url() == database.url
    assert make_url(database.url).get_backend_name() == dialect


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///%3Amemory%3A",
    "sqlite+pysqlite:///:memory:",
     "sqlite:///file::memory:?uri=true", "sqlite:///file:x?mode=memory&uri=true"],
)  # fmt: skip
def test_sqlite_in_memory_is_refused_with_the_reason(url: str) -> None:
    assert env_problems(DATABASE__URL=url) == [
        (
            "environment: MAIA_SYNC_DATABASE__URL: expected a database file, as an in-memory SQLite database "
            "is lost when the command ends"
        ),
    ]


@pytest.mark.parametrize(
    "url",
    ["maia.db", "mysql://h/d", "sqlite+aiosqlite:///a.db", "sqlite://a.db", "sqlite:/a.db",
    "sqlite:///a.db?timeout=1",
     "sqlite:///file:a.db", "sqlite:///a%00.db", "postgresql+psycopg2://u@h/d",
     "postgresql+asyncpg://u@h/d",
     "postgresql://u:c4nary-Xq7@x@h/d", "postgresql://u:c4nary-Xq7/x@h/d",
     "postgresql://u:123?c4nary-Xq7@h/d",
     "postgresql://u:c4nary-Xq7@h:port/d", "postgresql://u@h:0/d", "postgresql://u@h:70000/d",
     "postgresql://u@h/d?password=c4nary-Xq7", "postgresql://u@h/d?pass%77ord=c4nary-Xq7", "://",
     "sqlite"],
)  # fmt: skip
def test_other_databases_are_refused_without_showing_the_address(url: str) -> None:
    (told,) = env_problems(DATABASE__URL=url)
    assert told.startswith("environment: MAIA_SYNC_DATABASE__URL: expected ")
    assert CANARY not in told


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, name in ALL_KEYS if KEYS[section][name].hidden]
)
@pytest.mark.parametrize("literal", [f'"\\u0001{CANARY}"', f'["{CANARY}", 1]', f'{{x = "{CANARY}"}}'])
def test_a_bad_value_of_a_secret_key_is_never_told(file: Path, section: str, name: str, literal: str) -> None:
    (told,) = problems(path=written(file, f"[{section}]\n{name} = {literal}"))
    assert CANARY not in told


def test_the_keys_whose_values_no_message_shows() -> None:
    hidden = {f"{section}.{name}" for section, name in ALL_KEYS if KEYS[section][name].hidden}
    assert hidden == {
        "api.base_url", "auth.token", "auth.token_command", "auth.client_id", "auth.client_secret",
        "auth.token_url",
        "database.url", "schedule.discovery_command", "schedule.heartbeat_url",
        "archive.url", "archive.anchor_command", "archive.anchor_url",
    }  # fmt: skip


def test_long_values_are_cut_in_messages() -> None:
    (told,) = env_problems(API__REGION="x" * 100_000)
    assert len(told) < 300


def test_the_table_of_keys_and_the_settings_agree() -> None:
    assert {section: list(names) for section, names in KEYS.items()} == {
        section: list(getattr(Settings(), section).__struct_fields__)
        for section in Settings.__struct_fields__
    }


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a, b.c", ("a", "b.c")),
        ('["a", "b.c"]', ("a", "b.c")),
        (' [ "a" ] ', ("a",)),
        ("[]", ()),
        ("[0]", ("[0]",)),
        ("[0].x,[-1]", ("[0].x", "[-1]")),
        ("['x'].y", ("['x'].y",)),
        ("a", ("a",)),
    ],
)
def test_a_list_from_the_environment_is_json_or_has_commas(text: str, paths: tuple[str, ...]) -> None:
    """A path can begin with a bracket too."""
    assert from_env(FACETS__MODEL=text).facets.model == paths


@pytest.mark.parametrize("text", ["a,,b", '["a"', "[1, 2]", '["a", 2]', "a..b", "x * 2"])
def test_a_path_that_is_none_is_one_clear_sentence(text: str) -> None:
    (problem,) = env_problems(FACETS__MODEL=text)
    assert problem.startswith("environment: MAIA_SYNC_FACETS__MODEL: expected ")
    assert problem.count("expected") == 1


@pytest.mark.parametrize(
    ("key", "text", "wrong"), [("MODEL", "model, a..b", "a..b"), ("MODEL", "model * 2", "model * 2")]
)
def test_a_path_that_is_none_is_named(key: str, text: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_env(**{f"FACETS__{key}": text})
    (told,) = caught.value.problems
    assert f'(not "{wrong}")' in told
