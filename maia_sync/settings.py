"""Which settings are there, with which defaults, and how do secrets stay hidden? Frozen values.

`config.py` makes them from the file and the environment, everybody else reads them. Each section
of the file is one class here and each key one field. Durations are seconds. No repr of any
of them shows a secret (promise P9).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote, unquote

import msgspec

from maia_sync.errors import ConfigError
from maia_sync.facet_settings import FacetsSettings

REGIONS: Final = {
    "eu1": "https://eu1.api.matillion.com/dpc",
    "us1": "https://us1.api.matillion.com/dpc",
}
POSTGRESQL: Final = "postgresql+psycopg://"
SQLITE: Final = "sqlite:///"
HIDDEN: Final = "***"

CredentialKind: TypeAlias = Literal["token", "token_file", "token_command", "client_credentials"]

ONE_PASSWORD: Final = "expected no password in database.url beside it; remove one of the two"  # noqa: S105 - a sentence
_NO_CREDENTIAL = (
    "no credential for the Maia API is configured: set one of auth.token, auth.token_file, "
    "auth.token_command, or auth.client_id with auth.client_secret or auth.client_secret_file"
)

_LOGIN = re.compile(r"(?P<user>[^:/?]*)(?::(?P<password>.*))?@", re.DOTALL)


class Secret:
    """A text that no repr, str or format shows; `reveal` hands it to the one who sends it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """One section; a subclass with something to hide says in `_shown` what to show instead."""

    def _shown(self) -> dict[str, object]:
        return {}

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        instead = self._shown()
        return [(name, instead.get(name, getattr(self, name))) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


class ApiSettings(_Section, frozen=True, kw_only=True):
    """Where the Maia API is and how it is asked; `base_url` is the region's unless it is given."""

    region: Literal["eu1", "us1"] = "eu1"
    base_url: str = ""
    page_size: int = 1000
    concurrency: int = 8
    requests_per_second: float | None = None
    timeout: float = 30.0
    """The longest silence within a response."""
    page_deadline: float = 120.0
    """The longest whole response."""
    order: Literal["auto", "oldest-first", "newest-first"] = "auto"
    transport: Literal["httpx", "aiohttp"] = "httpx"
    """The library that speaks HTTP; aiohttp is cheaper, and of an extra."""
    max_page_bytes: int = 256 * 1024 * 1024
    ca_file: Path | None = None
    allow_insecure_http: bool = False
    retries: int = 5
    backoff: float = 0.5

    def __post_init__(self) -> None:
        if not self.base_url:
            msgspec.structs.force_setattr(self, "base_url", REGIONS[self.region])


class AuthSettings(_Section, frozen=True, kw_only=True):
    """The credentials, of at most one kind; the files are read where they are used."""

    token: Secret | None = None
    token_file: Path | None = None
    token_command: tuple[str, ...] | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    client_secret_file: Path | None = None
    token_url: str = "https://id.core.matillion.com/oauth/dpc/token"  # noqa: S105 - an address
    audience: str = "https://api.matillion.com"

    def kinds(self) -> tuple[CredentialKind, ...]:
        """Return every kind of credential that is configured; more than one is a mistake."""
        given: tuple[tuple[CredentialKind, bool], ...] = (
            ("token", self.token is not None),
            ("token_file", self.token_file is not None),
            ("token_command", self.token_command is not None),
            ("client_credentials", self.client_id is not None),
        )
        return tuple(kind for kind, present in given if present)

    @property
    def name(self) -> str | None:
        """What the credential is called, for whoever asks later what was used; never a secret."""
        if self.token is not None:
            return "token"
        if self.token_file is not None:
            return f"token_file {self.token_file}"
        if self.token_command is not None:
            return f"token_command {self.token_command[0]}"
        return None if self.client_id is None else f"client_id {self.client_id}"

    def require_credential(self) -> CredentialKind:
        """Return the kind of credential that is configured.

        Raises ConfigError when there is none: most verbs that leave upstream alone need none, so
        loading the configuration does not ask for one.
        """
        kinds = self.kinds()
        if not kinds:
            raise ConfigError([_NO_CREDENTIAL])
        return kinds[0]

    def _shown(self) -> dict[str, object]:
        # A command's words can be a secret themselves ("--password", "..."); its program is not.
        return {"token_command": (self.token_command[0], HIDDEN)} if self.token_command else {}


class DatabaseSettings(_Section, frozen=True, kw_only=True):
    """Which database holds the copy: a SQLite file or a PostgreSQL, as a SQLAlchemy URL."""

    url: str = "sqlite:///maia_sync.db"
    password_file: Path | None = None
    synchronous: Literal["normal", "full"] = "normal"
    patience: float = 60.0

    def __post_init__(self) -> None:
        for short in ("postgres://", "postgresql://"):
            if self.url.startswith(short):
                msgspec.structs.force_setattr(self, "url", POSTGRESQL + self.url.removeprefix(short))

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """Which of the two databases the URL names."""
        return "sqlite" if self.url.startswith("sqlite") else "postgresql"

    @property
    def sqlite_path(self) -> Path | None:
        """The database's file, or None for PostgreSQL."""
        return Path(unquote(self.url.removeprefix(SQLITE))) if self.dialect == "sqlite" else None

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a password."""
        return self._login()[1] is not None

    @property
    def redacted_url(self) -> str:
        """The URL for messages: the password as ***, and without the query, which can hold others."""
        if self.dialect == "sqlite":
            return self.url
        user, password, host = self._login()
        login = user + (f":{HIDDEN}" if password is not None else "")
        scheme = self.url.partition("://")[0]
        return f"{scheme}://{login}{'@' if login else ''}{host.partition('?')[0]}"

    def resolve_url(self) -> str:
        """Return the URL to connect with, the password of `password_file` put in.

        The file is read anew each time, so that a rotated password is found. Raises ConfigError
        when it cannot be read, or when the URL has a password too.
        """
        if self.password_file is None or self.dialect == "sqlite":
            return self.url
        user, password, host = self._login()
        if password is not None:
            raise ConfigError([f"database.password_file: {ONE_PASSWORD}"])
        password = read_secret_file(self.password_file, key="database.password_file").reveal()
        return f"{POSTGRESQL}{user}:{quote(password, safe='')}@{host}"

    def _login(self) -> tuple[str, str | None, str]:
        """Return user, password and what follows the @, each as spelt in the URL."""
        rest = self.url.partition("://")[2]
        login = _LOGIN.match(rest)
        if login is None:
            return "", None, rest
        return login["user"], login["password"], rest[login.end() :]

    def _shown(self) -> dict[str, object]:
        return {"url": self.redacted_url}


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """Points in time as cron writes them, in UTC: five fields, weekdays by name (mon to sun)."""

    minute: str
    hour: str
    day: str
    month: str
    weekday: str

    def __str__(self) -> str:
        return f"{self.minute} {self.hour} {self.day} {self.month} {self.weekday}"


Rhythm: TypeAlias = float | Cron
"""How often something is done: every so many seconds, or at points in time."""


class ScheduleSettings(_Section, frozen=True, kw_only=True):
    """When tasks are polled, by whom, and where they come from."""

    poll: Rhythm = 30.0
    min_interval: float = 10.0
    max_interval: float = 900.0
    reconcile: Rhythm = 604_800.0
    turn_pages: int = 50
    max_lag: float = 1800.0
    tasks_file: Path | None = None
    discovery_command: tuple[str, ...] | None = None
    discovery: Rhythm = 300.0
    discovery_timeout: float = 60.0
    worker: str | None = None
    heartbeat_url: Secret | None = None
    """Whoever knows such an address can feign our heartbeat, hence a secret."""
    lease: float = 60.0

    @property
    def silence(self) -> float:
        """How long a living run may hold no lease, in seconds: it may wait for the next task to come due."""
        return self.lease + (self.poll if isinstance(self.poll, float) else 0.0)

    def _shown(self) -> dict[str, object]:
        command = self.discovery_command
        return {"discovery_command": (command[0], HIDDEN)} if command else {}


class ArchiveSettings(_Section, frozen=True, kw_only=True):
    """Where the audit archive is written, when, by which key, and who else gets its checkpoints."""

    url: str | None = None
    """A folder's path, or a URL: file://, s3://, gs:// or az://."""
    key_file: Path | None = None
    """The private key, as `archive keygen` writes it."""
    verifier_key_file: Path | None = None
    """Its public half; beside `key_file` unless it is given."""
    schedule: Rhythm | None = None
    anchor_command: tuple[str, ...] | None = None
    anchor_url: Secret | None = None
    """Whoever knows such an address may be able to write there, hence a secret."""
    retention: float | None = None
    """How long payloads stay in the database once they are archived, in seconds; None: for ever."""
    retention_below_six_months: bool = False
    """Whether so short a retention is meant."""
    digest_key_file: Path | None = None
    """The key by which removed payloads are known again; beside `key_file` unless it is given."""

    def __post_init__(self) -> None:
        for name, ending in (("verifier_key_file", "pub"), ("digest_key_file", "digests")):
            if getattr(self, name) is None and self.key_file is not None:
                beside = self.key_file.with_name(f"{self.key_file.name}.{ending}")
                msgspec.structs.force_setattr(self, name, beside)

    def _shown(self) -> dict[str, object]:
        command = self.anchor_command
        return {"anchor_command": (command[0], HIDDEN)} if command else {}


class ReportSettings(_Section, frozen=True, kw_only=True):
    """When the daemon writes a report, and where to."""

    schedule: Rhythm | None = None
    file: Path | None = None
    """Its name's ending is the format, and `%Y` and the like in it stand for parts of the date."""
    since: float = 604_800.0


class WebSettings(_Section, frozen=True, kw_only=True):
    """Where metrics, health and the pages are served."""

    bind: str = "127.0.0.1:8321"
    token_file: Path | None = None

    @property
    def host(self) -> str:
        """The address to listen on, an IPv6 one without its brackets."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""
        return int(self.bind.rpartition(":")[2])


class LogSettings(_Section, frozen=True, kw_only=True):
    """How the log looks and what is left out of it."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration; `Settings()` is what runs without a file."""

    api: ApiSettings = ApiSettings()
    auth: AuthSettings = AuthSettings()
    database: DatabaseSettings = DatabaseSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    facets: FacetsSettings = FacetsSettings()
    archive: ArchiveSettings = ArchiveSettings()
    report: ReportSettings = ReportSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()


def read_secret_file(path: Path, *, key: str) -> Secret:
    """Return a secret kept in a file, without the newline that editors put at its end.

    `key` names the setting that named the file, for the sentence of the ConfigError that is
    raised when the file cannot be read, is empty, or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError([f"{key}: cannot read {path}: {reason}"]) from error
    except ValueError:
        # The cause would carry the file's bytes into a traceback.
        raise ConfigError([f"{key}: expected UTF-8 text in {path}"]) from None
    if not text or "\0" in text:
        raise ConfigError([f"{key}: expected one secret as text in {path}, which holds none"])
    return Secret(text)
