"""What did the operator configure, and what is wrong with it? TOML + environment -> frozen settings.

The only reader of TOML and of the environment. A key's value is the one of the environment
variable MAIA_SYNC_<SECTION>__<KEY> (an empty one counts as not set), else the file's, else the
default. Every problem is gathered and told in one ConfigError: where, what was expected and,
unless a secret can stand there, what was found. Rules over several keys are checked only where
each of these keys is right by itself.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from maia_sync.config_addresses import RefusedError, is_loopback
from maia_sync.config_keys import KEYS
from maia_sync.errors import ConfigError
from maia_sync.facet_settings import FacetsSettings
from maia_sync.settings import (
    ONE_PASSWORD,
    ApiSettings,
    ArchiveSettings,
    AuthSettings,
    CredentialKind,
    DatabaseSettings,
    LogSettings,
    ReportSettings,
    ScheduleSettings,
    Secret,
    Settings,
    WebSettings,
    read_secret_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "CONFIG_VARIABLE",
    "ApiSettings",
    "ArchiveSettings",
    "AuthSettings",
    "CredentialKind",
    "DatabaseSettings",
    "FacetsSettings",
    "LogSettings",
    "ReportSettings",
    "ScheduleSettings",
    "Secret",
    "Settings",
    "WebSettings",
    "config_path",
    "load_settings",
    "read_secret_file",
]

CONFIG_VARIABLE: Final = "MAIA_SYNC_CONFIG"
_PREFIX = "MAIA_SYNC_"
_DEFAULT_PATH = Path("config.toml")
_LONGEST_SHOWN = 60
_TUPLE: Final = re.compile(r"\((?:'[^']*'(?:, |,(?=\))|(?=\))))+\)")
_IN_TUPLE: Final = re.compile("'([^']*)'")
_TWICE: Final = re.compile(
    r"Cannot declare (?P<name>.+) twice \(at (?:line (?P<line>[0-9]+), .*|end of document)\)"
)

Key: TypeAlias = tuple[str, str]
"""A section and the name of a key in it."""


class _Given(NamedTuple):
    """A value that somebody configured, and where."""

    where: str
    value: object


def config_path(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the file that is read, or that `init` writes: the given, the variable's, ./config.toml."""
    if path is not None:
        return path
    named = (os.environ if environ is None else environ).get(CONFIG_VARIABLE)
    return Path(named) if named else _DEFAULT_PATH


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return what the file and the environment configure, the defaults for the rest.

    A file that was named, by argument or by $MAIA_SYNC_CONFIG, must be there; ./config.toml need
    not. Raises ConfigError with every problem found.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    file = config_path(path, environ)
    optional = path is None and not environ.get(CONFIG_VARIABLE)
    document = _read_toml(file, problems, optional=optional)
    given = _from_file(document, str(file), problems) | _from_environment(environ, problems)
    settings, wrong = _check_keys(given, problems)
    for keys, rule in _RULES:
        if wrong.isdisjoint(keys):
            problems += [_located(key, given, sentence) for key, sentence in rule(settings, given)]
    if problems:
        raise ConfigError(problems)
    return settings


def _read_toml(file: Path, problems: list[str], *, optional: bool) -> dict[str, Any]:
    try:
        # Windows editors put a byte order mark before UTF-8, which TOML 1.0 does not know.
        text = file.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        if not optional:
            problems.append(f"{file}: cannot be read: {error.strerror}")
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror or type(error).__name__}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(f"{file}: line {line}: expected UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file}: {_toml_fault(str(error), len(text.splitlines()))}")
    except (ValueError, RecursionError):
        problems.append(f"{file}: expected a readable path, and values of reasonable size and depth")
    return {}


def _toml_fault(reason: str, lines: int) -> str:
    """Return what tomllib complains of in a file of so many lines: names as they are written there."""
    reason = _TUPLE.sub(lambda names: _plain(".".join(_IN_TUPLE.findall(names[0]))), reason)
    twice = _TWICE.fullmatch(reason)
    if twice is None:
        return f"expected TOML: {reason}"
    return f"line {twice['line'] or lines}: section [{twice['name']}] stands twice"


def _from_file(document: dict[str, Any], where: str, problems: list[str]) -> dict[Key, _Given]:
    given = {}
    for section, table in document.items():
        if section not in KEYS:
            problems.append(
                f"{where}: {_plain(section)}: no such section{_did_you_mean(_nearest_section(section))}"
            )
        elif not isinstance(table, dict):
            problems.append(f"{where}: {section}: expected a section, [{section}]")
        else:
            for name, value in table.items():
                if name in KEYS[section]:
                    given[section, name] = _Given(f"{where}: {section}.{name}", value)
                else:
                    hint = _did_you_mean(".".join(_nearest_key(section, name)))
                    problems.append(f"{where}: {section}.{_plain(name)}: no such key{hint}")
    return given


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[Key, _Given]:
    variables = {variable_name(key): key for key in _all_keys()}
    without_separators = {name.replace("_", ""): name for name in variables}
    given = {}
    for name, text in environ.items():
        if not name.upper().startswith(_PREFIX):
            continue
        key = variables.get(name)
        if key is not None and text:
            section, short = key
            given[key] = _Given(f"environment: {name}", KEYS[section][short].parse(text))
        elif key is None:
            # One underscore instead of two is the likeliest slip; other names with one are not ours.
            meant = without_separators.get(name.upper().replace("_", ""))
            if meant is not None or "__" in name.removeprefix(_PREFIX):
                hint = _did_you_mean(meant or _nearest_variable(name))
                problems.append(f"environment: {_plain(name)}: no such setting{hint}")
    return given


def read_environment() -> Mapping[str, str]:
    """Return the environment, for what is not a setting: what a supervisor tells its service."""
    return os.environ


def variable_name(key: Key) -> str:
    """Return the environment variable that sets this key."""
    section, name = key
    return f"{_PREFIX}{section.upper()}__{name.upper()}"


def _check_keys(given: dict[Key, _Given], problems: list[str]) -> tuple[Settings, set[Key]]:
    """Return the settings as far as they are right, and the keys that are not."""
    good: dict[str, dict[str, Any]] = {section: {} for section in KEYS}
    wrong = set()
    for key, (where, value) in given.items():
        section, name = key
        kind = KEYS[section][name]
        try:
            good[section][name] = kind.check(value)
        except RefusedError as refused:
            found = "" if kind.hidden else f", got {_shown(value)}"
            problems.append(f"{where}: expected {str(refused) or kind.expected}{found}")
            wrong.add(key)
    settings = Settings(
        api=ApiSettings(**good["api"]),
        auth=AuthSettings(**good["auth"]),
        database=DatabaseSettings(**good["database"]),
        schedule=ScheduleSettings(**good["schedule"]),
        facets=FacetsSettings(**good["facets"]),
        archive=ArchiveSettings(**good["archive"]),
        report=ReportSettings(**good["report"]),
        web=WebSettings(**good["web"]),
        log=LogSettings(**good["log"]),
    )
    return settings, wrong


_Found: TypeAlias = "Iterator[tuple[Key, str]]"


def _plain_http(key: Key, settings: Settings) -> _Found:
    section, name = key
    parts = urlsplit(getattr(getattr(settings, section), name))
    if (
        parts.scheme == "http"
        and not settings.api.allow_insecure_http
        and not is_loopback(parts.hostname or "")
    ):
        yield key, _NO_PLAIN_HTTP


def _plain_http_to_api(settings: Settings, _: dict[Key, _Given]) -> _Found:
    return _plain_http(("api", "base_url"), settings)


def _plain_http_to_login(settings: Settings, _: dict[Key, _Given]) -> _Found:
    return _plain_http(("auth", "token_url"), settings)


def _one_credential(settings: Settings, given: dict[Key, _Given]) -> _Found:
    names = [name for name in _CREDENTIALS if ("auth", name) in given]
    kinds = {"client credentials" if name.startswith("client_") else name for name in names}
    if len(kinds) > 1:
        places = ", ".join(given["auth", name].where for name in names)
        yield (
            ("auth", names[-1]),
            f"expected one kind of credential, got several ({places}); remove the others",
        )
    auth = settings.auth
    if auth.client_secret is not None and auth.client_secret_file is not None:
        yield (
            ("auth", "client_secret_file"),
            "expected no auth.client_secret beside it; remove one of the two",
        )
    has_secret = auth.client_secret is not None or auth.client_secret_file is not None
    if auth.client_id is not None and not has_secret:
        yield ("auth", "client_id"), "expected auth.client_secret or auth.client_secret_file beside it"
    if auth.client_id is None and has_secret:
        name = "client_secret" if auth.client_secret is not None else "client_secret_file"
        yield ("auth", name), "expected auth.client_id beside it"


def _one_password(settings: Settings, _: dict[Key, _Given]) -> _Found:
    database = settings.database
    if database.password_file is not None and database.dialect == "sqlite":
        yield (
            ("database", "password_file"),
            "expected a PostgreSQL database.url beside it; SQLite has no password",
        )
    elif database.password_file is not None and database.has_password:
        yield ("database", "password_file"), ONE_PASSWORD


def _ordered_intervals(settings: Settings, given: dict[Key, _Given]) -> _Found:
    schedule = settings.schedule
    if schedule.min_interval > schedule.max_interval:
        name = "min_interval" if ("schedule", "min_interval") in given else "max_interval"
        sentence = (
            "expected schedule.min_interval to be no longer than schedule.max_interval, "
            f"got {schedule.min_interval:g}s and {schedule.max_interval:g}s"
        )
        yield ("schedule", name), sentence


def _whole_report(settings: Settings, given: dict[Key, _Given]) -> _Found:
    for name, other in (("schedule", "file"), ("file", "schedule")):
        if ("report", name) in given and getattr(settings.report, other) is None:
            yield ("report", name), f"expected report.{other} beside it"


def _whole_archive(settings: Settings, given: dict[Key, _Given]) -> _Found:
    archive = settings.archive
    for name in ("schedule", "anchor_command", "anchor_url", "retention"):
        if ("archive", name) in given and archive.url is None:
            yield ("archive", name), "expected archive.url beside it"
    if archive.url is not None and archive.schedule is not None and archive.key_file is None:
        yield (
            ("archive", "schedule"),
            "expected archive.key_file beside it; `maia-sync archive keygen` makes one",
        )
    if archive.retention is not None and archive.schedule is None:
        yield ("archive", "retention"), "expected archive.schedule beside it: only what is archived is pruned"
    is_short = archive.retention is not None and archive.retention < _SIX_MONTHS
    if is_short and not archive.retention_below_six_months:
        yield (
            ("archive", "retention"),
            (
                "expected 184d, which is six months, or more; it may be less only with "
                "archive.retention_below_six_months = true"
            ),
        )


def _guarded_web(settings: Settings, _: dict[Key, _Given]) -> _Found:
    if settings.web.token_file is None and not is_loopback(settings.web.host):
        yield (
            ("web", "bind"),
            "expected web.token_file beside it, as this address can be reached from other machines",
        )


_SIX_MONTHS: Final = 184 * 86_400.0
"""In seconds: so long must logs of such systems be kept at the least, by the AI Act (articles 19 and 26)."""
_NO_PLAIN_HTTP = (
    "expected https://, as plain http:// shows the credentials to everybody on the way; it is accepted "
    "for loopback addresses, and elsewhere only with api.allow_insecure_http = true"
)
_CREDENTIALS = ("token", "token_file", "token_command", "client_id", "client_secret", "client_secret_file")
_RULES: Final[list[tuple[set[Key], Callable[[Settings, dict[Key, _Given]], _Found]]]] = [
    ({("api", "allow_insecure_http"), ("api", "base_url")}, _plain_http_to_api),
    ({("api", "allow_insecure_http"), ("auth", "token_url")}, _plain_http_to_login),
    ({("auth", name) for name in _CREDENTIALS}, _one_credential),
    ({("database", "url"), ("database", "password_file")}, _one_password),
    ({("schedule", "min_interval"), ("schedule", "max_interval")}, _ordered_intervals),
    ({("report", "schedule"), ("report", "file")}, _whole_report),
    ({("archive", name) for name in KEYS["archive"]}, _whole_archive),
    ({("web", "bind"), ("web", "token_file")}, _guarded_web),
]


def _located(key: Key, given: dict[Key, _Given], sentence: str) -> str:
    where = given[key].where if key in given else ".".join(key)
    return f"{where}: {sentence}"


def _all_keys() -> list[Key]:
    return [(section, name) for section, names in KEYS.items() for name in names]


def _nearest_section(section: str) -> str:
    homes = [f"{home}.{name}" for home, name in _all_keys() if name == section]
    return (homes or difflib.get_close_matches(section, KEYS, n=1) or [""])[0]


def _nearest_key(section: str, name: str) -> Key | tuple[()]:
    siblings = difflib.get_close_matches(name, KEYS[section], n=1)
    homes = [(home, key) for home, key in _all_keys() if key == name]
    return (section, siblings[0]) if siblings else homes[0] if homes else ()


def _nearest_variable(name: str) -> str:
    section, _, key = name.upper().removeprefix(_PREFIX).lower().partition("__")
    sections = [section] if section in KEYS else difflib.get_close_matches(section, KEYS, n=1)
    meant = _nearest_key(sections[0], key) if sections else ()
    return variable_name(meant) if meant else ""


def _did_you_mean(meant: str) -> str:
    return f"; did you mean {meant}?" if meant else ""


def _plain(name: str) -> str:
    """Return a name as it stands, or quoted and cut where it is no plain word."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) else _shown(name)


def _shown(value: object) -> str:
    """Return what was found, as TOML spells it where that is short."""
    match value:
        case str() if len(value) > _LONGEST_SHOWN:
            return f"{json.dumps(value[:_LONGEST_SHOWN])} and {len(value) - _LONGEST_SHOWN} characters more"
        case bool() | str() | float():
            return json.dumps(value)
        case int():
            return str(value) if abs(value) < 10**20 else "a very large number"
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return "a date or a time"
