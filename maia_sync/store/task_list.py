"""Which tasks are there, and what does each come to? Searched, sorted, and page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import msgspec

from maia_sync.store.statement import PARAMETERS, Statement, read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maia_sync.store.answer import Value

Sort: TypeAlias = Literal[
    "label", "status", "events", "turns", "tool_calls", "errors", "tokens", "cost", "last_at", "news", "lag"
]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
"""What tasks can be sorted by."""
DESCENDING_FIRST: Final = frozenset(SORTS) - {"label", "status"}
"""Those of which the greatest comes first unless somebody says otherwise."""

LONGEST_LABEL: Final = 300
"""Characters of a label that are listed; the rest is only searched."""
MOST_REPLACED: Final = 15
"""Letters beyond ASCII of a search whose capitals SQLite is told: each nests its expression deeper."""

_TYPES: Final = {**PARAMETERS, "search": "text", "state": "text", "offset": "bigint"}
_OF_TASK: Final[Mapping[Sort, str]] = {
    "label": f"lower(substr(k.label, 1, {LONGEST_LABEL}))",
    "status": "k.status",
    "news": "k.last_news_at",
}
_OF_TURNS: Final[Mapping[Sort, str]] = {
    "events": "sum(events)",
    "turns": "count(CASE WHEN group_id <> '' AND events > 0 THEN 1 END)",
    "tool_calls": "sum(tool_calls)",
    "errors": "sum(errors)",
    "tokens": "sum(input_tokens + output_tokens)",
    "cost": "sum(cost)",
    "last_at": "max(last_at)",
}
_SUMMED: Final = """
  LEFT JOIN (SELECT task_id, {} AS figure FROM task_turn GROUP BY task_id) u ON u.task_id = k.task_id"""
_BY_LAG: Final = "coalesce(k.last_polled_at, k.tracked_at)"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks are listed, and in which order."""

    search: str = ""
    """A part of the label or of the id, in small or capital letters."""
    state: str | None = None
    """None: any."""
    sort: Sort = "news"
    is_descending: bool = True
    offset: int = 0
    limit: int | None = None

    def values(self) -> Mapping[str, Value]:
        """Return what the statement's parameters stand for."""
        return {
            "search": f"%{_pattern(self.search)}%" if self.search else None,
            "state": self.state,
            "offset": self.offset,
            "limit": self.limit,
        }

    def statement(self) -> Statement:
        """Return the statement; each row's last column, `found`, says how many tasks there are on all pages.

        Only the tasks of one page have all their figures summed up.
        """
        where = f"""(:state IS NULL OR k.status = :state)
    AND (:search IS NULL OR {_lower("k.label", self.search)} LIKE :search ESCAPE '!'
      OR CAST(k.task_id AS text) LIKE :search ESCAPE '!')"""
        figure = _OF_TURNS.get(self.sort)
        summed = "" if figure is None else _SUMMED.format(figure)
        expression = "u.figure" if figure else _OF_TASK.get(self.sort, _BY_LAG)
        # The longest lag is the earliest moment.
        descends = self.is_descending != (self.sort == "lag")
        order = f"sort_key {'DESC' if descends else 'ASC'} NULLS LAST, k.tracked_at DESC, k.task_id"
        return read_statement(
            f"""WITH listed AS (
  SELECT k.task_id, substr(k.label, 1, {LONGEST_LABEL}) AS label, {expression} AS sort_key
  FROM task k{summed}
  WHERE {where}
  ORDER BY {order}
  LIMIT :limit OFFSET :offset
)
SELECT k.task_id, l.label, k.status, CAST(coalesce(sum(t.events), 0) AS bigint) AS events,
       count(CASE WHEN t.group_id <> '' AND t.events > 0 THEN 1 END) AS turns,
       CAST(coalesce(sum(t.tool_calls), 0) AS bigint) AS tool_calls,
       CAST(coalesce(sum(t.tool_errors), 0) AS bigint) AS tool_errors,
       CAST(coalesce(sum(t.errors), 0) AS bigint) AS errors,
       CAST(coalesce(sum(t.input_tokens), 0) AS bigint) AS input_tokens,
       CAST(coalesce(sum(t.output_tokens), 0) AS bigint) AS output_tokens,
       round(CAST(coalesce(sum(t.cost), 0) AS numeric), 5) AS cost,
       max(t.last_at) AS last_at, k.last_news_at, k.last_polled_at, k.tracked_at, k.failures,
       substr(k.last_error, 1, 300) AS last_error,
       (SELECT count(*) FROM task k WHERE {where}) AS found
FROM listed l
JOIN task k ON k.task_id = l.task_id
LEFT JOIN task_turn t ON t.task_id = l.task_id
GROUP BY l.sort_key, l.label, k.task_id, k.status, k.last_news_at, k.last_polled_at, k.tracked_at, k.failures,
         k.last_error
ORDER BY l.{order}
""",
            _TYPES,
        )


def _pattern(search: str) -> str:
    """Return what LIKE takes for a part of a text; a letter beyond those that are replaced may be any."""
    given_up = set(_odd_letters(search)[MOST_REPLACED:])
    return "".join("_" if each in given_up else _plain(each) for each in search.lower())


def _plain(text: str) -> str:
    """Return a text so that LIKE takes each of its characters for itself."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _lower(column: str, search: str) -> str:
    """Return a column in small letters, also those of the search that SQLite's lower() leaves alone."""
    text = f"lower({column})"
    for small in _odd_letters(search)[:MOST_REPLACED]:
        text = f"replace({text}, '{small.upper()}', '{small}')"
    return text


def _odd_letters(search: str) -> list[str]:
    """Return the small letters of a search that SQLite knows no capitals of."""
    return [
        small
        for small in sorted(set(search.lower()))
        if not small.isascii() and small.isalpha() and len(small.upper()) == 1 and small.upper() != small
    ]
