"""What may each key of the configuration hold? One table, `KEYS`; values in, values out.

A value arrives as TOML has it, for `check`, or as the text of an environment variable, which `parse`
first turns into what TOML would have had; what it cannot turn goes on as it is, for `check` to refuse.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from maia_sync.config_addresses import (
    RefusedError,
    archive_url,
    bind,
    database_url,
    endpoint,
    secret_address,
    text_of,
)
from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, WORD_LISTS
from maia_sync.json_path import parse_path
from maia_sync.settings import Cron, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TEN_YEARS = 3650 * 86_400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)?")
_CALENDAR = re.compile(r"[0-9.]+ ?(y|yr|yrs|years?|M|mo|mon|months?)")
_NO_CALENDAR = "there are no months or years: a year is 365d"
_CRON_END = "[0-9]{1,2}|[a-z]{3}"
_CRON_RANGE = re.compile(
    rf"(?:\*|(?P<first>{_CRON_END})(?:-(?P<last>{_CRON_END}))?)(?:/(?P<step>[0-9]{{1,2}}))?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS: Final[list[tuple[int, int, tuple[str, ...]]]] = [
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 7, _WEEKDAYS),
]
_REPORT_ENDINGS = (".html", ".htm", ".md", ".csv", ".json")
_NO_DATE = re.compile(r"(?<!%)(?:%%)*%(?![YmdHM%])")


class Kind(NamedTuple):
    """What a key takes: `check` turns a TOML value into a setting, `parse` a variable into a TOML value."""

    expected: str
    check: Callable[[object], object]
    parse: Callable[[str], object] = str
    hidden: bool = False
    """Whether the value can be or hold a secret, so that no message may show it."""


def _choice(*choices: str) -> Kind:
    def check(value: object) -> str:
        if isinstance(value, str) and value.strip().lower() in choices:
            return value.strip().lower()
        raise RefusedError

    return Kind(" or ".join(f'"{choice}"' for choice in choices), check)


def _whole_number(low: int, high: int) -> Kind:
    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise RefusedError

    def parse(text: str) -> object:
        return int(text) if re.fullmatch(r" *[+-]?[0-9]{1,18} *", text) else text

    return Kind(f"a whole number from {low} to {high}", check, parse)


def _number_as_float(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RefusedError
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _parse_float(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _rate() -> Kind:
    def check(value: object) -> float:
        rate = _number_as_float(value)
        if 0 < rate <= 1_000_000:
            return rate
        raise RefusedError

    return Kind("a number greater than 0, and at most 1000000", check, _parse_float)


def _duration(shortest: str | None = None) -> Kind:
    """Durations are read as "30s" or as seconds; the bound keeps them within what timers take."""

    def seconds(value: object) -> float:
        if not isinstance(value, str):
            return _number_as_float(value)
        match = _DURATION.fullmatch(value.strip())
        if match is None and _CALENDAR.fullmatch(value.strip()):
            raise RefusedError(f'a duration such as "400d", as {_NO_CALENDAR}')
        if match is None:
            raise RefusedError
        return float(match[1]) * _UNITS[match[2] or "s"]

    least = seconds(shortest) if shortest else 0.0

    def check(value: object) -> float:
        result = seconds(value)
        if 0 < result <= _TEN_YEARS and result >= least:
            return result
        raise RefusedError

    bound = f"of at least {shortest}" if shortest else "greater than 0"
    return Kind(
        f'a duration {bound}, such as "500ms", "30s", "15m", "2h", "7d" or a number of seconds', check
    )


def _age() -> Kind:
    """Take a duration with a unit: by 400 alone, seconds are hardly meant."""
    duration = _duration()

    def check(value: object) -> object:
        if not isinstance(value, str) or value.strip()[-1:].isdecimal():
            raise RefusedError
        return duration.check(value)

    return Kind(f'a duration with its unit, such as "400d"; {_NO_CALENDAR}', check)


def _rhythm() -> Kind:
    """Take a duration, or five fields of cron in one text."""
    duration = _duration()

    def check(value: object) -> object:
        fields = value.split() if isinstance(value, str) else []
        return _cron(fields) if len(fields) == len(_CRON_FIELDS) else duration.check(value)

    return Kind(
        f'{duration.expected}; or points in time (UTC) as cron has them, such as "0 3 * * sun"', check
    )


def _cron(fields: list[str]) -> Cron:
    """Check what no scheduler would take, or would take for something else than cron does.

    Weekdays become names: cron counts them from Sunday (0 or 7), others from Monday.
    """
    for field, (low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        for part in field.lower().split(","):
            if not _is_cron_range(part, low, high, names):
                raise RefusedError
    minute, hour, day, month, weekday = (field.lower() for field in fields)
    if day != "*" and weekday != "*":
        raise RefusedError(
            "days of the month or weekdays, and * for the other, as the two together are ambiguous"
        )
    weekday = ",".join(_named_weekdays(part) for part in weekday.split(","))
    return Cron(minute=minute, hour=hour, day=day, month=month, weekday=weekday)


def _is_cron_range(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _CRON_RANGE.fullmatch(part)
    if match is None or match["step"] == "0":
        return False
    if match["first"] is None:
        return True
    if match["step"] is not None and match["last"] is None:
        return False
    ends = [end for end in (match["first"], match["last"]) if end is not None]
    numbers = [names.index(end) + low if end in names else int(end) if end.isdigit() else -1 for end in ends]
    return all(low <= number <= high for number in numbers) and numbers == sorted(numbers)


def _named_weekdays(part: str) -> str:
    """Write a range of weekdays as a list of names, so that it may run over the end of a week."""
    if part.startswith("*/"):
        part = f"0-6/{part[2:]}"
    if part == "*":
        return part
    days, _, step = part.partition("/")
    first, _, last = days.partition("-")
    low, high = (_WEEKDAYS.index(end) if end in _WEEKDAYS else int(end) for end in (first, last or first))
    return ",".join(_WEEKDAYS[day % 7] for day in range(low, high + 1, int(step or 1)))


def _flag() -> Kind:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

    def check(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise RefusedError

    def parse(text: str) -> object:
        return words.get(text.strip().lower(), text)

    return Kind("true or false", check, parse)


def _bearer(value: object) -> Secret:
    text = text_of(value)
    if " " in text or not text.isascii():
        raise RefusedError
    return Secret(text)


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise RefusedError
    try:
        path = Path(value).expanduser()
        os.fsencode(path)
    except (RuntimeError, ValueError):
        raise RefusedError from None
    return path


def _report_file(value: object) -> Path:
    path = _path(value)
    if path.suffix.lower() not in _REPORT_ENDINGS or _NO_DATE.search(str(path)):
        raise RefusedError
    return path


def _existing_file(value: object) -> Path:
    path = _path(value)
    try:
        if path.is_file():
            return path
    except OSError:
        pass
    raise RefusedError


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise RefusedError
    for word in value:
        if not isinstance(word, str) or not re.fullmatch(r"[^\0\ud800-\udfff]*", word):
            raise RefusedError
    if not value[0].strip():
        raise RefusedError
    return tuple(value)


def _paths(*, scaled: bool = False) -> Kind:
    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise RefusedError
        for text in value:
            if not isinstance(text, str):
                raise RefusedError
            try:
                path = parse_path(text)
            except ValueError as error:
                raise RefusedError(f"{str(error).removeprefix('expected ')} (not {_quoted(text)})") from error
            if path.factor is not None and not scaled:
                raise RefusedError(f"paths without a factor, as this is no number (not {_quoted(text)})")
        return tuple(value)

    example = '["durationMs", "elapsedSeconds * 1000"]' if scaled else '["type", "event.kind"]'
    return Kind(f"a list of paths into data, such as {example}", check, _parse_list)


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else f"{text[:60]}...")


def _spellings() -> Kind:
    def check(value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(word, str) and word.strip() for word in value):
            return tuple(value)
        raise RefusedError

    return Kind('a list of words, such as ["failed", "timed out"]', check, _parse_list)


def _parse_list(text: str) -> object:
    """Read a list: as JSON, or one item to a comma where no item can hold one; `[0]` is a path, no list."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return found
    return [each.strip() for each in text.split(",")]


def _time_zone(value: object) -> str:
    text = text_of(value)
    try:
        return ZoneInfo(text).key
    except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise RefusedError from error


def _parse_words(text: str) -> object:
    try:
        return json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except (ValueError, RecursionError):
        return text


_PATH = Kind("the path of a file", _path)
_ENDPOINT = Kind("an https:// address", endpoint, hidden=True)
_SECRET_ADDRESS = Kind("an http:// or https:// address", secret_address, hidden=True)
_COMMAND = Kind(
    'a command as a list of words, such as ["cat", "/run/token"]', _words, _parse_words, hidden=True
)

KEYS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "api": {
        "region": _choice("eu1", "us1"),
        "base_url": _ENDPOINT,
        "page_size": _whole_number(1, 1000),
        "concurrency": _whole_number(1, 256),
        "requests_per_second": _rate(),
        "timeout": _duration(),
        "page_deadline": _duration(),
        "order": _choice("auto", "oldest-first", "newest-first"),
        "transport": _choice("httpx", "aiohttp"),
        "max_page_bytes": _whole_number(1024, 2**40),
        "ca_file": Kind("the path of an existing file with CA certificates", _existing_file),
        "allow_insecure_http": _flag(),
        "retries": _whole_number(0, 20),
        "backoff": _duration(),
    },
    "auth": {
        "token": Kind("a token, in printable ASCII without spaces", _bearer, hidden=True),
        "token_file": _PATH,
        "token_command": _COMMAND,
        "client_id": Kind("the id of an API client", text_of, hidden=True),
        "client_secret": Kind(
            "the secret of an API client", lambda value: Secret(text_of(value)), hidden=True
        ),
        "client_secret_file": _PATH,
        "token_url": _ENDPOINT,
        "audience": Kind("the audience of the token, as text", text_of),
    },
    "database": {
        "url": Kind(
            "sqlite:///<file> or postgresql+psycopg://<user>@<host>/<database>", database_url, hidden=True
        ),
        "password_file": _PATH,
        "synchronous": _choice("normal", "full"),
        "patience": _duration(),
    },
    "schedule": {
        "poll": _rhythm(),
        "min_interval": _duration(),
        "max_interval": _duration(),
        "reconcile": _rhythm(),
        "turn_pages": _whole_number(1, 1_000_000),
        "max_lag": _duration(),
        "tasks_file": _PATH,
        "discovery_command": _COMMAND,
        "discovery": _rhythm(),
        "discovery_timeout": _duration(),
        "worker": Kind("a name, as text", text_of),
        "heartbeat_url": _SECRET_ADDRESS,
        "lease": _duration("5s"),
    },
    "facets": {
        **{name: _paths() for name in TEXT_PATHS},
        **{name: _paths(scaled=True) for name in NUMBER_PATHS},
        **{name: _spellings() for name in WORD_LISTS},
        "time_zone": Kind('a time zone, such as "UTC" or "Europe/Berlin"', _time_zone),
    },
    "archive": {
        "url": Kind(
            'the path of a folder, or a URL that begins with "s3://", "gs://", "az://" or "file:///"',
            archive_url,
            hidden=True,
        ),
        "key_file": _PATH,
        "verifier_key_file": _PATH,
        "schedule": _rhythm(),
        "anchor_command": _COMMAND,
        "anchor_url": _SECRET_ADDRESS,
        "retention": _age(),
        "retention_below_six_months": _flag(),
        "digest_key_file": _PATH,
    },
    "report": {
        "schedule": _rhythm(),
        "file": Kind(
            "the path of a file that ends with .html, .md, .csv or .json; in it %Y, %m, %d, %H, %M are parts "
            "of the date and time, and %% is a %",
            _report_file,
        ),
        "since": _duration(),
    },
    "web": {
        "bind": Kind('an address and a port, such as "127.0.0.1:8321" or "[::1]:8321"', bind),
        "token_file": _PATH,
    },
    "log": {
        "format": _choice("console", "json"),
        "level": _choice("debug", "info", "warning", "error"),
    },
}
