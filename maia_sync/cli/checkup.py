"""What is wrong with this set-up, and how is it mended? One finding for each check of `doctor`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal

import msgspec

from maia_sync.cli.durations import show_duration
from maia_sync.cli.escaping import one_line
from maia_sync.cli.failure import exit_code_of, sentences_of
from maia_sync.config import config_path, load_settings
from maia_sync.errors import (
    EXIT_CREDENTIALS,
    EXIT_DATABASE,
    EXIT_OK,
    EXIT_UPSTREAM,
    ConfigError,
    CredentialsRefused,
    MaiaSyncError,
    SignInFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

    from maia_sync.app import App
    from maia_sync.settings import Settings

Level = Literal["ok", "warning", "problem"]
_CLOCK_SKEW_SECONDS = 60
_LITTLE_SPACE = 1 << 30
_HARDLY_ANY_SPACE = 64 << 20
_SEE_AUTH = "see [auth] in the configuration"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    check: str
    level: Level
    found: str
    mend: str | None = None
    exit_code: int = EXIT_OK


def worst_exit_code(findings: list[Finding]) -> int:
    """Return the exit code of the first problem in the order of the checks, which is the order of mending."""
    return next((one.exit_code for one in findings if one.level == "problem"), EXIT_OK)


def check_config(path: Path | None) -> tuple[Settings | None, list[Finding]]:
    """Read the configuration; without settings, no other check can be made."""
    file = config_path(path)
    try:
        settings = load_settings(path)
    except ConfigError as error:
        mend = "correct the file or the variable that is named"
        return None, [problem("config", sentence, mend, error.exit_code) for sentence in sentences_of(error)]
    if not file.exists():
        found = f"there is no {file}: the defaults and the environment are used"
        return settings, [warning("config", found, "`maia-sync init` writes one")]
    return settings, [ok("config", f"{file} is right; API {settings.api.base_url}")]


def check_all(app: App) -> Iterator[Finding]:
    """Yield what the checks find that need settings: credentials, database, API, clock."""
    credentials = check_credentials(app)
    yield credentials
    yield from check_database(app)
    if credentials.level != "problem":
        yield from check_api(app)


def check_credentials(app: App) -> Finding:
    """Tell whether a credential can be had; whether it is good is the API's to say."""
    from maia_sync.maia.auth import read_credential

    settings = app.settings.auth
    try:
        read_credential(settings)
    except MaiaSyncError as error:
        return failed("credentials", error, _SEE_AUTH, exit_code_of(error))
    kind = settings.require_credential()
    if kind == "client_credentials":
        secret = "client_secret_file" if settings.client_secret is None else "client_secret"
        return ok("credentials", f"auth.client_id and auth.{secret} are set and can be read")
    return ok("credentials", f"auth.{kind} is set and can be read")


def check_database(app: App) -> Iterator[Finding]:
    """Yield whether the database is reachable, of this version and writable, and what its file needs."""
    database = app.database
    try:
        database.require_migrated()
        _try_to_write(app)
    except MaiaSyncError as error:
        yield failed("database", error, "see [database] in the configuration", EXIT_DATABASE)
    else:
        yield ok("database", f"{database.place} is up to date and can be written")
        yield from _check_facets(app)
        if not database.is_postgresql:
            yield from _check_journal(app)
    yield from _check_space(app.settings.database.sqlite_path)


def _check_facets(app: App) -> Iterator[Finding]:
    if app.has_stale_facets():
        yield warning(
            "facets",
            "stored events have their facets by another configuration or version, or none yet",
            "run `maia-sync facets rebuild`",
        )
    else:
        yield ok("facets", "stored events have the facets that [facets] asks for")


def _try_to_write(app: App) -> None:
    """Make a change that changes nothing: a read-only file, standby or user refuses even that."""
    with app.database.transaction() as tx:
        tx.connection.exec_driver_sql("DELETE FROM task WHERE 1 = 0")


def _check_journal(app: App) -> Iterator[Finding]:
    with app.database.transaction(write=False) as tx:
        mode = tx.connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    if mode == "wal":
        yield ok("journal", "SQLite keeps a write-ahead log: readers and the sync do not block each other")
    else:
        yield warning(
            "journal",
            f"SQLite's journal mode is {mode}, not wal",
            "keep the file on a local disk: network file systems cannot do it",
        )


def _check_space(path: Path | None) -> Iterator[Finding]:
    if path is None:
        return
    folder = path.resolve().parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        mend = "make the folder, or name another in database.url"
        yield problem("disk", f"{folder}: {error.strerror}", mend, EXIT_DATABASE)
        return
    found = f"{free / 1e9:,.1f} GB free in {folder}"
    if free < _HARDLY_ANY_SPACE:
        yield problem("disk", found, "free some space before the next sync", EXIT_DATABASE)
    elif free < _LITTLE_SPACE:
        yield warning("disk", found, "free some space soon")
    else:
        yield ok("disk", found)


def check_api(app: App) -> Iterator[Finding]:
    """Yield whether the API answers, takes the token, and agrees on the time: one request.

    An API client signs in for it, so a refused secret or a sign-in server that is away shows here.
    """
    try:
        probe = app.probe()
    except MaiaSyncError as error:
        code = exit_code_of(error)
        mend = f"see [api] in the configuration; the address is {app.settings.api.base_url}"
        if isinstance(error, SignInFailed | CredentialsRefused):
            mend = f"{_SEE_AUTH}; access tokens come from {app.settings.auth.token_url}"
        yield failed("API", error, mend, EXIT_UPSTREAM if code in (EXIT_OK, 1) else code)
        return
    yield judge_status(probe.status, app.settings.api.base_url)
    if probe.server_time is not None:
        yield judge_clock(app.clock.now() - probe.server_time)


def judge_status(status: int, address: str) -> Finding:
    """Tell what an answer of the API says about it and about the token."""
    if status == 401:
        mend = "get a new token, and see [auth] in the configuration"
        return problem("API", f"{address} refuses the token (401)", mend, EXIT_CREDENTIALS)
    if status in (200, 403, 404):
        return ok("API", f"{address} answers ({status}) and takes the token")
    if status in (429, 503):
        return warning("API", f"{address} answers, but is busy ({status})", "try again later")
    mend = "is api.base_url the API's address? If so, try again later"
    return problem("API", f"{address} answers with {status}", mend, EXIT_UPSTREAM)


def judge_clock(ahead: timedelta) -> Finding:
    """Tell whether this machine's clock and the API's agree."""
    seconds = ahead.total_seconds()
    apart = f"{show_duration(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} the API's"
    if abs(seconds) > _CLOCK_SKEW_SECONDS:
        return warning("clock", f"this machine's clock is {apart}", "switch on time synchronisation (NTP)")
    return ok("clock", f"this machine's clock is {apart}")


def ok(check: str, found: str) -> Finding:
    """Find nothing to mend."""
    return Finding(check=check, level="ok", found=found)


def warning(check: str, found: str, mend: str) -> Finding:
    """Find what should be mended."""
    return Finding(check=check, level="warning", found=found, mend=mend)


def problem(check: str, found: str, mend: str, exit_code: int) -> Finding:
    """Find what must be mended."""
    return Finding(check=check, level="problem", found=found, mend=mend, exit_code=exit_code)


def failed(check: str, error: MaiaSyncError, mend: str, exit_code: int) -> Finding:
    """Find what must be mended, by an error's own sentence."""
    return problem(check, one_line(str(error)), mend, exit_code)
