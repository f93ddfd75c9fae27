from __future__ import annotations

import pickle
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import make_url

from maia_sync.config import (
    ApiSettings,
    AuthSettings,
    DatabaseSettings,
    Secret,
    Settings,
    load_settings,
    read_secret_file,
)
from maia_sync.errors import ConfigError

CANARY = "c4nary-Xq7"


def from_env(**variables: str) -> Settings:
    return load_settings(environ={f"MAIA_SYNC_{name}": value for name, value in variables.items()})


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


def test_the_region_names_the_address_unless_one_is_given() -> None:
    assert Settings().api.base_url == "https://eu1.api.matillion.com/dpc"
    assert from_env(API__REGION="us1").api.base_url == "https://us1.api.matillion.com/dpc"
    assert ApiSettings(region="us1").base_url == "https://us1.api.matillion.com/dpc"
    assert from_env(API__REGION="us1", API__BASE_URL="https://x.example").api.base_url == "https://x.example"


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"AUTH__TOKEN": "t"}, "token"),
        ({"AUTH__TOKEN_FILE": "t"}, "token_file"),
        ({"AUTH__TOKEN_COMMAND": "cat t"}, "token_command"),
        ({"AUTH__CLIENT_ID": "c", "AUTH__CLIENT_SECRET": "s"}, "client_credentials"),
        ({"AUTH__CLIENT_ID": "c", "AUTH__CLIENT_SECRET_FILE": "s"}, "client_credentials"),
    ],
)
def test_one_kind_of_credential_is_found(variables: dict[str, str], kind: str) -> None:
    assert from_env(**variables).auth.require_credential() == kind


def test_no_credential_is_an_error_only_where_one_is_needed() -> None:
    settings = load_settings(environ={})
    with pytest.raises(ConfigError, match=r"^no credential for the Maia API is configured: set one of"):
        settings.auth.require_credential()


@pytest.mark.parametrize(
    ("bind", "host", "port"), [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:8321", "::1", 8321)]
)
def test_bind_is_split_into_host_and_port(bind: str, host: str, port: int) -> None:
    web = from_env(WEB__BIND=bind).web
    assert (web.host, web.port) == (host, port)


def test_the_file_of_a_sqlite_database_is_known() -> None:
    assert Settings().database.sqlite_path == Path("maia_sync.db")
    assert DatabaseSettings(url="sqlite:////var/a%20b.db").sqlite_path == Path("/var/a b.db")
    assert DatabaseSettings(url="postgresql+psycopg://h/d").sqlite_path is None


@pytest.mark.parametrize("user", ["u", "", "u%40x"])
@pytest.mark.parametrize("password", ["simple", "@:/?#%&+ =", "%41", "pä55", " lead and trail "])
def test_the_password_of_the_file_reaches_the_driver_unchanged(
    tmp_path: Path, user: str, password: str
) -> None:
    path = written(tmp_path / "pw", password + "\n")
    at = f"{user}@" if user else ""
    database = from_env(
        DATABASE__URL=f"postgresql://{at}h:5432/d?x=1", DATABASE__PASSWORD_FILE=str(path)
    ).database
    url = make_url(database.resolve_url())
    assert (url.password, url.host, url.port, url.database, url.query) == (
        password,
        "h",
        5432,
        "d",
        {"x": "1"},
    )
    assert (url.username or "") == user.replace("%40", "@")
    assert password not in repr(database)


def test_the_password_file_is_read_at_each_use(tmp_path: Path) -> None:
    database = from_env(
        DATABASE__URL="postgresql://u@h/d", DATABASE__PASSWORD_FILE=str(tmp_path / "pw")
    ).database
    with pytest.raises(ConfigError, match=r"database\.password_file: cannot read .*pw: No such file"):
        database.resolve_url()
    written(tmp_path / "pw", "one\n")
    assert database.resolve_url() == "postgresql+psycopg://u:one@h/d"
    written(tmp_path / "pw", "two")
    assert database.resolve_url() == "postgresql+psycopg://u:two@h/d"


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql+psycopg://u:p@h:5432/d", "postgresql+psycopg://u:***@h:5432/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://:p@h/d", "postgresql+psycopg://:***@h/d"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg://u:p@h/d?sslpassword=p", "postgresql+psycopg://u:***@h/d"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg2://u:***@h/d"),
    ],
)
def test_the_url_for_messages_hides_the_password(url: str, redacted: str) -> None:
    database = DatabaseSettings(url=url)
    assert database.redacted_url == redacted
    assert f"url={redacted!r}" in repr(database)


@given(password=st.text(st.characters(exclude_categories=["Cs"])))
@example(password="a@b:c/d?e#f%")
def test_no_password_survives_redaction(password: str) -> None:
    for spelt in (password, quote(password, safe="")):
        database = DatabaseSettings(url=f"postgresql+psycopg://u:{spelt}@h/d")
        assert database.redacted_url == "postgresql+psycopg://u:***@h/d"


def test_a_secret_file_loses_only_its_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b" a \r\n")
    assert read_secret_file(path, key="k").reveal() == " a "
    for content in (b"", b"\n", b"a\0b", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"^k: expected"):
            read_secret_file(path, key="k")
    with pytest.raises(ConfigError, match=r"^k: cannot read"):
        read_secret_file(tmp_path, key="k")


def test_no_repr_of_the_settings_shows_a_secret() -> None:
    base = {
        "SCHEDULE__HEARTBEAT_URL": f"https://hb.example/{CANARY}",
        "SCHEDULE__DISCOVERY_COMMAND": f"x {CANARY}",
    }
    base["DATABASE__URL"] = f"postgresql://u:{CANARY}@h/d?sslpassword={CANARY}"
    for credential in (
        {"AUTH__TOKEN": CANARY},
        {"AUTH__TOKEN_COMMAND": f"vault --password {CANARY}"},
        {"AUTH__CLIENT_ID": "c", "AUTH__CLIENT_SECRET": CANARY},
    ):
        settings = from_env(**base, **credential)
        spelt = (
            f"{settings!r} {settings} {settings.auth!r} {settings.auth.__rich_repr__()!r} {settings.database}"
        )
        assert CANARY not in spelt
        assert "***" in repr(settings.auth)


def test_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    secret = Secret(CANARY)
    assert f"{secret} {secret!r} {secret!s}" == "*** *** ***"
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("x")
    assert len({secret, Secret(CANARY)}) == 1
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_a_credential_has_a_name_that_is_no_secret() -> None:
    names = {
        None: AuthSettings(),
        "token": AuthSettings(token=Secret("s3cret")),
        "token_file /run/it": AuthSettings(token_file=Path("/run/it")),
        "token_command vault": AuthSettings(token_command=("vault", "--password", "s3cret")),
        "client_id it": AuthSettings(client_id="it", client_secret=Secret("s3cret")),
    }
    assert {auth.name: auth for auth in names.values()} == names
