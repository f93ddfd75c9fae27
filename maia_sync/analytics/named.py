"""Which questions come with the package, and what may each be told? The shipped file of named queries."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.errors import UsageError
from maia_sync.store.statement import Statement, read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "since": ("since", "since_day"),
    "until": ("until", "until_day"),
    "task": ("task",),
    "limit": ("limit",),
}
"""Each option by which a query is told something, and the parameters that it sets."""

_QUERY = re.compile(
    r"^-- name: (?P<name>\S+)\n(?P<comment>(?:--[^\n]*\n)+)(?P<sql>.+?;)$", re.MULTILINE | re.DOTALL
)
_LIMIT = re.compile(r"^-- default limit: ([0-9]+)\n", re.MULTILINE)


class NamedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One of the queries that come with the package."""

    name: str
    description: str
    """One sentence: what it answers."""
    limit: int | None
    """What `limit` stands for unless somebody says otherwise."""
    statement: Statement

    @property
    def options(self) -> tuple[str, ...]:
        """The options that it takes."""
        return options_of(self.statement)


def options_of(statement: Statement) -> tuple[str, ...]:
    """Return the options that tell a statement something: those whose parameters it names."""
    return tuple(
        option for option, parameters in OPTIONS.items() if not statement.parameters.isdisjoint(parameters)
    )


def read_named_queries() -> dict[str, NamedQuery]:
    """Return the shipped queries by name, in the order of their file."""
    text = resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    found = (_from(match["name"], match["comment"], match["sql"]) for match in _QUERY.finditer(text))
    return {query.name: query for query in found}


def _from(name: str, comment: str, sql: str) -> NamedQuery:
    limit = _LIMIT.search(comment)
    lines = _LIMIT.sub("", comment).splitlines()
    return NamedQuery(
        name=name,
        description=" ".join(line.removeprefix("--").strip() for line in lines),
        limit=None if limit is None else int(limit[1]),
        statement=read_statement(sql),
    )


def find_named_query(name: str) -> NamedQuery:
    """Return the query of a name. Raises UsageError, which names those that are spelt like it."""
    queries = read_named_queries()
    if name in queries:
        return queries[name]
    alike = difflib.get_close_matches(name.lower().replace("_", "-"), queries, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(alike)}?" if alike else "`maia-sync query --list` lists them"
    raise UsageError(f"there is no query named {name[:40]!r}: {hint}")
