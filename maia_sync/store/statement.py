"""What does the text of a query ask for? One statement that gives rows, and the parameters that it names.

This is no SQL parser: it knows where comments, quotes and words begin and end. It is there for clear
sentences and for the parameters; that a query only reads is seen to by the databases (see `asking.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from maia_sync.store.answer import Value

PARAMETERS: Final = {
    "since": "timestamptz",
    "until": "timestamptz",
    "since_day": "date",
    "until_day": "date",
    "task": "uuid",
    "limit": "bigint",
}
"""Each parameter that a query may name, and its type on PostgreSQL, which cannot tell the type of a NULL."""

_GIVES_ROWS: Final = ("SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN")
_LONGEST_SHOWN: Final = 20
_NO_LIMIT: Final = 2**63 - 1
_ACTS: Final = re.compile(
    r"""
    pg_(?: terminate_backend | cancel_backend | reload_conf | rotate_logfile | switch_wal | promote | notify
         | (?:try_)?advisory_\w+ | stat_reset\w* | stat_statements_reset
         | replication_(?: slot_advance | origin_\w+ ) | file_(?: write | rename | unlink )
         | (?: create | drop | backup | wal_replay | logical )_\w+ )
  | lo_(?: import | export ) | dblink\w*
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Functions that act at once, whatever becomes of the transaction: a guard against accidents, no more."""
_TOKEN: Final = re.compile(
    r"""
    (?P<blank> \s+ | --[^\n]* | /\* (?: [^*] | \*(?!/) )*+ (?:\*/)? )
  | (?P<quoted>
        [eE]' (?: [^'\\] | \\. )*+ '
      | '[^']*' | "[^"]*" | `[^`]*`
      | \$ (?P<tag> (?:[^\W\d]\w*)? ) \$ .*? \$ (?P=tag) \$ )
  | (?<![\d\]):]) : (?P<parameter> [a-z_]+ ) \b
  | (?P<word> \w+ )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)


class Statement(msgspec.Struct, frozen=True):
    """The text of one statement that gives rows."""

    text: str
    verb: str
    """Its first word, in capitals."""
    parameters: frozenset[str]
    """The names in `types` that it uses."""
    types: Mapping[str, str] = msgspec.field(default_factory=lambda: PARAMETERS)
    """Each parameter that it may name, and its type on PostgreSQL."""

    def for_psycopg(self) -> str:
        """Return the text with psycopg's placeholders, each cast to its type; as it is without any."""
        if not self.parameters:
            return self.text
        return "".join(
            f"CAST(%({match['parameter']})s AS {self.types[match['parameter']]})"
            if match["parameter"] in self.types
            else match[0].replace("%", "%%")
            for match in _TOKEN.finditer(self.text)
        )

    def spelt_out(self, values: Mapping[str, Value]) -> str:
        """Return the text with literals in the place of parameters, as both databases take them.

        It can be pasted into `maia-sync query`, sqlite3 or psql, in whatever time zone that stands.
        """
        return "".join(
            _literal(values.get(match["parameter"]), self.types[match["parameter"]])
            if match["parameter"] in self.types
            else match[0]
            for match in _TOKEN.finditer(self.text)
        )


def _literal(value: Value, kind: str) -> str:
    if value is None:
        # LIMIT takes no NULL on SQLite.
        return str(_NO_LIMIT) if kind == "bigint" else f"CAST(NULL AS {kind})"
    if isinstance(value, int):
        return str(value)
    text = _moment(value) if isinstance(value, datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"


def _moment(value: datetime) -> str:
    """Return a moment with its offset, so that SQLite's plain comparison of texts is exact as well.

    SQLite holds `2026-01-05 08:00:00.500000` without an offset. Of the same moment written
    `2026-01-05 08:00:00.5+00`, the text that is stored is the greater one, as is right for >= and for <: a
    digit and a dot come after the plus sign. Where no digit can be left out, one is added that PostgreSQL
    rounds away.
    """
    there = value.astimezone(UTC)
    whole, micros = f"{there:%m-%d %H:%M:%S}", f"{there.microsecond:06}"
    ends_with_zero = micros.endswith("0")
    part = f".{micros.rstrip('0')}".rstrip(".") if ends_with_zero else f".{there.microsecond - 1:06}9"
    return f"{there.year:04}-{whole}{part}+00"


def read_statement(text: str, types: Mapping[str, str] = PARAMETERS) -> Statement:
    """Return the statement that a text is. Raises UsageError unless it is one that gives rows.

    Text with a colon in front that is none of `types` is no parameter.
    """
    _require_text(text)
    tokens = [match for match in _TOKEN.finditer(text) if match["blank"] is None]
    words = [match for match in tokens if match[0] not in ("(", ";")]
    if not words:
        raise UsageError("the query is empty")
    verb = words[0][0].upper()
    if verb not in _GIVES_ROWS:
        begins = ", ".join(_GIVES_ROWS[:-1])
        raise UsageError(
            f"a query only reads, so it begins with {begins} or {_GIVES_ROWS[-1]}, "
            f"not with {words[0][0][:_LONGEST_SHOWN]!r}"
        )
    ends = [match.start() for match in tokens if match[0] == ";" and match.start() > words[0].start()]
    end = ends[0] if ends else len(text)
    if words[-1].start() > end:
        raise UsageError("a query is one statement, and behind its semicolon there is another")
    for match in tokens:
        if _ACTS.fullmatch(match[0].strip('"')):
            raise UsageError(f"a query only reads, and {match[0]} would act at once")
    named = frozenset(match["parameter"] for match in tokens if match["parameter"] in types)
    return Statement(text=text[:end], verb=verb, parameters=named, types=types)


def _require_text(text: str) -> None:
    """Raise UsageError for what neither database takes as text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the query is not UTF-8 text") from error
    if "\0" in text:
        raise UsageError("the query holds a NUL character")
