"""What do some events come to? Sums that can be added to each other, made of facets; no database here."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from maia_sync.facet_settings import FACETS
from maia_sync.store.reporting import slot_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.store.facets import FacetColumns, FacetRow

LATE = "~"
"""Behind every moment's text: an event without a readable timestamp is nobody's first."""
_TOOL_KINDS = ("tool_call", "tool_result")


COUNTED: Final = (
    "event_kind",
    "actor",
    "user_id",
    "agent_name",
    "outcome",
    "input_tokens",
    "output_tokens",
    "cost",
)
"""The facets that sums are made of."""
_COUNTED = itemgetter(*(FACETS.index(name) for name in COUNTED))


def count_alike(one: FacetRow, other: FacetRow) -> bool:
    """Tell whether two payloads of one event come to the same sums."""
    return counted_of(one) == counted_of(other)


def counted_of(facets: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what stands at the places of COUNTED: values of an event, or columns of many."""
    found: tuple[Any, ...] = _COUNTED(facets)
    return found


class Sums:
    """What some events of a task come to; moments as text, `YYYY-MM-DD HH:MM:SS.ffffff`."""

    __slots__ = (
        "agent",
        "agent_messages",
        "answered_at",
        "asked_at",
        "cost",
        "errors",
        "events",
        "first_at",
        "input_tokens",
        "last_at",
        "output_tokens",
        "steps",
        "tool_calls",
        "tool_errors",
        "user",
        "user_messages",
        "vanished_events",
    )

    def __init__(self) -> None:
        self.events = self.user_messages = self.agent_messages = self.steps = self.vanished_events = 0
        self.tool_calls = self.tool_errors = self.errors = self.input_tokens = self.output_tokens = 0
        self.cost = 0.0
        self.first_at = self.asked_at = LATE
        self.last_at = self.answered_at = ""
        self.user: tuple[str, str] | None = None
        """When, and who: the earliest event that names a user; likewise `agent`."""
        self.agent: tuple[str, str] | None = None

    def add(self, other: Sums) -> None:
        """Add what other events come to."""
        self.add_counts(other)
        self.steps += other.steps
        self.first_at = min(self.first_at, other.first_at)
        self.asked_at = min(self.asked_at, other.asked_at)
        self.last_at = max(self.last_at, other.last_at)
        self.answered_at = max(self.answered_at, other.answered_at)
        self.user = earlier(self.user, other.user)
        self.agent = earlier(self.agent, other.agent)

    def add_counts(self, other: Sums) -> None:
        """Add what both summaries hold."""
        self.events += other.events
        self.user_messages += other.user_messages
        self.agent_messages += other.agent_messages
        self.tool_calls += other.tool_calls
        self.tool_errors += other.tool_errors
        self.errors += other.errors
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost += other.cost
        self.vanished_events += other.vanished_events

    def subtract(self, other: Sums) -> None:
        """Take back the counts of what events tell: not the events, and nothing that is first or last."""
        self.user_messages -= other.user_messages
        self.agent_messages -= other.agent_messages
        self.steps -= other.steps
        self.tool_calls -= other.tool_calls
        self.tool_errors -= other.tool_errors
        self.errors -= other.errors
        self.input_tokens -= other.input_tokens
        self.output_tokens -= other.output_tokens
        self.cost -= other.cost

    def forget_payloads(self) -> None:
        """Keep only what events come to whose payloads tell nothing: how many there are, and when."""
        bare = Sums()
        bare.events, bare.vanished_events = self.events, self.vanished_events
        bare.first_at, bare.last_at = self.first_at, self.last_at
        for name in self.__slots__:
            setattr(self, name, getattr(bare, name))

    @property
    def started_at(self) -> str:
        """When the turn began: with its first question, or else with its first event; or ""."""
        return _told(self.first_at if self.asked_at == LATE else self.asked_at)

    def of_turn(self) -> tuple[Any, ...]:
        """Return what the turn's row alone holds, in the order of its columns; "" for what is not known."""
        (user_at, user_id), (agent_at, agent_name) = self.user or ("", ""), self.agent or ("", "")
        return (
            _told(self.first_at),
            self.last_at,
            _told(self.asked_at),
            self.answered_at,
            user_id,
            _told(user_at),
            agent_name,
            _told(agent_at),
            self.steps,
        )

    @classmethod
    def of_stored_turn(cls, values: Sequence[Any]) -> Sums:
        """Return what was stored as `of_turn` and `counts`."""
        first_at, last_at, asked_at, answered_at, user_id, user_at, agent_name, agent_at, steps, *counts = (
            values
        )
        sums = cls.of_stored_counts(counts)
        sums.first_at, sums.asked_at = first_at or LATE, asked_at or LATE
        sums.last_at, sums.answered_at = last_at, answered_at
        sums.user = (user_at or LATE, user_id) if user_id else None
        sums.agent = (agent_at or LATE, agent_name) if agent_name else None
        sums.steps = steps
        return sums

    @classmethod
    def of_stored_counts(cls, counts: Sequence[Any]) -> Sums:
        """Return what was stored as `counts`."""
        sums = cls()
        (
            sums.events,
            sums.user_messages,
            sums.agent_messages,
            sums.tool_calls,
            sums.tool_errors,
            sums.errors,
            sums.input_tokens,
            sums.output_tokens,
            sums.cost,
            sums.vanished_events,
        ) = counts
        return sums

    def counts(self) -> tuple[Any, ...]:
        """Return what both summaries hold, in the order of their columns."""
        return (
            self.events,
            self.user_messages,
            self.agent_messages,
            self.tool_calls,
            self.tool_errors,
            self.errors,
            self.input_tokens,
            self.output_tokens,
            self.cost,
            self.vanished_events,
        )


def _told(moment: str) -> str:
    return "" if moment == LATE else moment


def earlier(one: tuple[str, str] | None, other: tuple[str, str] | None) -> tuple[str, str] | None:
    """Return which of two names stood there earlier; each with its moment."""
    if one is None or other is None:
        return one or other
    return min(one, other)


Cells = dict[tuple[str, str | None], Sums]
"""Sums by group_id and slot_at (None for events without a readable timestamp)."""


def sum_up(  # noqa: C901, PLR0912 - a call per event costs
    group_ids: Iterable[str], moments: Iterable[str | None], counted: FacetColumns, cells: Cells | None = None
) -> Cells:
    """Sum up events that have not vanished, each by group_id, occurred_at and the facets in COUNTED.

    The loop runs for every event of every backfill.
    """
    cells = {} if cells is None else cells
    last_group: str | None = None
    last_minute: str | None = ""
    sums = Sums()
    for group_id, at, kind, actor, user_id, agent_name, outcome, read, written, cost in zip(
        group_ids, moments, *counted, strict=True
    ):
        minute = None if at is None else at[:16]
        if group_id != last_group or minute != last_minute:
            last_group, last_minute = group_id, minute
            key = (group_id, None if at is None else slot_of(at))
            sums = cells.get(key) or cells.setdefault(key, Sums())
        sums.events += 1
        if at is not None:
            if at < sums.first_at:  # noqa: PLR1730 - a third of the cost of min()
                sums.first_at = at
            if at > sums.last_at:  # noqa: PLR1730
                sums.last_at = at
        if kind == "message":
            if actor == "user":
                sums.user_messages += 1
                if at is not None and at < sums.asked_at:
                    sums.asked_at = at
            elif actor == "agent":
                sums.agent_messages += 1
                if at is not None and at > sums.answered_at:
                    sums.answered_at = at
        elif kind == "tool_call":
            sums.tool_calls += 1
        if actor == "agent":
            sums.steps += 1
        if outcome == "error":
            sums.errors += 1
            sums.tool_errors += kind in _TOOL_KINDS
        if read:
            sums.input_tokens += read
        if written:
            sums.output_tokens += written
        if cost:
            sums.cost += cost
        if user_id and (sums.user is None or (at or LATE) <= sums.user[0]):
            sums.user = earlier(sums.user, (at or LATE, user_id))
        if agent_name and (sums.agent is None or (at or LATE) <= sums.agent[0]):
            sums.agent = earlier(sums.agent, (at or LATE, agent_name))
    return cells


def count_vanished(events: Iterable[tuple[str, str | None]], cells: Cells) -> None:
    """Count events that have vanished, each by group_id and occurred_at."""
    for group_id, at in events:
        key = (group_id, None if at is None else slot_of(at))
        cells.setdefault(key, Sums()).vanished_events += 1


def by_group(cells: Cells) -> dict[str, Sums]:
    """Return the sums of each group; the cells are used up by it."""
    groups: dict[str, Sums] = {}
    for (group_id, _), sums in cells.items():
        of_group = groups.setdefault(group_id, sums)
        if of_group is not sums:
            of_group.add(sums)
    return groups


def by_slot(cells: Cells) -> dict[str, Sums]:
    """Return the sums of each quarter of an hour: what both summaries hold, and no more."""
    slots: dict[str, Sums] = {}
    for (_, slot_at), sums in cells.items():
        if slot_at is not None:
            (slots.get(slot_at) or slots.setdefault(slot_at, Sums())).add_counts(sums)
    return slots
