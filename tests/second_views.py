"""What must each view show? Worked out in plain Python from the raw elements of the logs.

Shares nothing with maia_sync but the configuration. Moments are `YYYY-MM-DD HH:MM:SS.ffffff` in UTC, as text.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from oracle import tell
from properties.second_reader import read_element
from second_facets import FACETS, second_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maia_sync.facet_settings import FacetsSettings

NOWHERE = -(2**63)
LATE = "~"
Row = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One event as it stands in the log now, or stood there last."""

    task_id: str
    group_id: str
    timestamp: int
    ordinal: int
    place: int
    """In reading order."""
    occurred_at: str | None
    timestamp_text: str | None
    data: str | None
    extra: str | None
    facets: Row
    raw: bytes
    vanished: bool = False
    identity: Any = None
    earlier: tuple[str | None, ...] = ()
    """Payloads that it had before."""

    def __getattr__(self, name: str) -> Any:
        return self.facets[name]


@dataclass
class History:
    """A task's log through time: what is there, what was changed, what has gone."""

    task_id: str
    settings: FacetsSettings
    events: list[Seen] = field(default_factory=list)

    def see(self, elements: Iterable[bytes]) -> None:
        """Take in elements behind all others."""
        for element in elements:
            self.insert(len(self.events), element)

    def insert(self, at: int, element: bytes) -> None:
        """Take in an element in front of a known one; one that is known or no event is passed by."""
        made = self._make(element)
        if made is not None and all(each.identity != made.identity for each in self.events):
            self.events.insert(at, made)

    def change(self, at: int, element: bytes) -> None:
        """Give an event another payload."""
        before, made = self.events[at], self._make(element)
        assert made is not None
        assert (before.group_id, before.timestamp) == (made.group_id, made.timestamp)
        self.events[at] = replace(made, ordinal=before.ordinal, earlier=(*before.earlier, before.data))

    def vanish(self, at: int, *, vanished: bool = True) -> None:
        """Have an event vanish, or return."""
        self.events[at] = replace(self.events[at], vanished=vanished)

    def holds(self, element: bytes) -> bool:
        """Tell whether there is such an event, or was."""
        made = self._make(element)
        return made is not None and any(each.identity == made.identity for each in self.events)

    def log(self) -> list[bytes]:
        """Return the elements that are there now."""
        return [each.raw for each in self.events if not each.vanished]

    def _make(self, element: bytes) -> Seen | None:
        identity, said = tell(element), read_element(element.strip(b" \t\r\n"))
        assert (identity is None) == (said is None)
        if identity is None or said is None:
            return None
        key = (said.group_id, said.timestamp)
        same_key = [each.ordinal for each in self.events if (each.group_id, each.timestamp) == key]
        facets = dict(zip(FACETS, second_reading(said.data, self.settings), strict=True))
        return Seen(
            task_id=self.task_id,
            group_id=said.group_id,
            timestamp=said.timestamp,
            ordinal=max(same_key, default=-1) + 1,
            place=0,
            occurred_at=said.occurred_at,
            timestamp_text=said.timestamp_text,
            data=said.data,
            extra=said.extra,
            facets={name: None if value == "" else value for name, value in facets.items()},
            identity=identity.identity,
            raw=element,
        )


# ------------------------------------------------------------------ moments


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def between(earlier: str | None, later: str | None) -> float | None:
    if earlier is None or later is None:
        return None
    return (moment(later) - moment(earlier)) / timedelta(seconds=1)


def labels(occurred_at: str, zone: str) -> tuple[str, str, int]:
    """Return day, hour_at and hour of the quarter of an hour (in UTC) that a moment lies in."""
    start = moment(occurred_at)
    start = start.replace(minute=start.minute // 15 * 15, second=0, microsecond=0)
    try:
        there = start.astimezone(ZoneInfo(zone))
        hour_at = start - timedelta(minutes=there.minute, seconds=there.second)
    except OverflowError:  # the calendar's first hours
        there, hour_at = start, start.replace(minute=0)
    text = hour_at.replace(tzinfo=None).isoformat(" ", "microseconds")
    return there.date().isoformat(), text, there.hour


# ------------------------------------------------------------------ sums


def lowest(values: Iterable[str | None]) -> str | None:
    return min((value for value in values if value is not None), default=None)


def highest(values: Iterable[str | None]) -> str | None:
    return max((value for value in values if value is not None), default=None)


def sums(events: Sequence[Seen]) -> Row:
    """Return what both summaries count."""
    present = [each for each in events if not each.vanished]
    messages = [each for each in present if each.event_kind == "message"]
    failed = [each for each in present if each.outcome == "error"]
    return {
        "events": len(present),
        "user_messages": sum(each.actor == "user" for each in messages),
        "agent_messages": sum(each.actor == "agent" for each in messages),
        "tool_calls": sum(each.event_kind == "tool_call" for each in present),
        "tool_errors": sum(each.event_kind in ("tool_call", "tool_result") for each in failed),
        "errors": len(failed),
        "input_tokens": sum(each.input_tokens or 0 for each in present),
        "output_tokens": sum(each.output_tokens or 0 for each in present),
        "cost": math.fsum(each.cost or 0.0 for each in present),
        "vanished_events": len(events) - len(present),
    }


def added(rows: Iterable[Row], names: Iterable[str]) -> Row:
    rows = list(rows)
    return {name: sum(row[name] for row in rows) for name in names}


def by(things: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for thing in things:
        found[key(thing)].append(thing)
    return found


def earliest(events: Iterable[Seen], name: str) -> str | None:
    """Return the facet of the earliest event that has it; of several the smaller text."""
    found = [(each.occurred_at or LATE, each.facets[name]) for each in events if each.facets[name]]
    return min(found)[1] if found else None


def turn_of(events: list[Seen], zone: str) -> Row:
    """Return what a group comes to."""
    present = [each for each in events if not each.vanished]
    messages = [each for each in present if each.event_kind == "message"]
    asked_at = lowest(each.occurred_at for each in messages if each.actor == "user")
    answered_at = highest(each.occurred_at for each in messages if each.actor == "agent")
    first_at = lowest(each.occurred_at for each in present)
    last_at = highest(each.occurred_at for each in present)
    started_at = asked_at or first_at
    is_answered = started_at is not None and answered_at is not None and answered_at >= started_at
    ended_at = answered_at if is_answered else last_at
    return {
        "task_id": events[0].task_id,
        "group_id": events[0].group_id,
        "day": None if started_at is None else labels(started_at, zone)[0],
        "hour_at": None if started_at is None else labels(started_at, zone)[1],
        "user_id": earliest(present, "user_id"),
        "agent_name": earliest(present, "agent_name"),
        "started_at": started_at,
        "ended_at": ended_at,
        "duration_seconds": between(started_at, ended_at),
        "asked_at": asked_at,
        "answered_at": answered_at,
        "first_at": first_at,
        "last_at": last_at,
        "steps": sum(each.actor == "agent" for each in present),
        **sums(events),
    }


# ------------------------------------------------------------------ views

COUNTS = ("user_messages", "agent_messages", "tool_calls", "tool_errors", "errors", "input_tokens",
          "output_tokens", "cost", "vanished_events")  # fmt: skip


class Views:
    """Every view's rows, from the histories of all tasks."""

    def __init__(self, histories: Sequence[History], labels_of: dict[str, str | None], zone: str) -> None:
        self.zone = zone
        self.labels = labels_of
        self.all = [
            replace(each, place=place) for history in histories for place, each in enumerate(history.events)
        ]
        self.present = [each for each in self.all if not each.vanished]
        groups = by(self.all, lambda each: (each.task_id, each.group_id))
        self.groups = [turn_of(events, zone) for events in groups.values()]
        self.turns = [turn for turn in self.groups if turn["group_id"] != "" and turn["events"] > 0]

    def v_event(self) -> list[Row]:
        names = (
            "task_id",
            "group_id",
            "timestamp",
            "ordinal",
            "occurred_at",
            "timestamp_text",
            "data",
            "extra",
        )
        return [
            {
                **{name: getattr(each, name) for name in (*names, *FACETS)},
                "label": self.labels[each.task_id],
                "revision": len(each.earlier),
                "vanished_at": each.vanished,
            }
            for each in self.all
        ]

    def v_turn(self) -> list[Row]:
        wanted = [{**turn, "label": self.labels[turn["task_id"]]} for turn in self.turns]
        for row in wanted:
            del row["hour_at"]
        return wanted

    def v_task(self) -> list[Row]:
        groups, turns = (
            by(self.groups, lambda turn: turn["task_id"]),
            by(self.turns, lambda turn: turn["task_id"]),
        )
        rows = []
        for task_id, label in self.labels.items():
            first_at = lowest(turn["first_at"] for turn in groups[task_id])
            last_at = highest(turn["last_at"] for turn in groups[task_id])
            seconds = [turn["duration_seconds"] for turn in turns[task_id] if turn["started_at"] is not None]
            rows.append(
                {
                    "task_id": task_id,
                    "label": label,
                    "first_at": first_at,
                    "last_at": last_at,
                    "span_seconds": between(first_at, last_at),
                    "active_seconds": math.fsum(seconds) if seconds else None,
                    "turns": len(turns[task_id]),
                    **added(groups[task_id], ("events", *COUNTS)),
                }
            )
        return rows

    def v_tool_call(self) -> list[Row]:
        tool = [each for each in self.present if each.event_kind in ("tool_call", "tool_result")]
        calls = [each for each in tool if each.event_kind == "tool_call"]
        results = [each for each in tool if each.event_kind == "tool_result"]
        bare_calls = by(
            (each for each in calls if not each.tool_call_id), lambda each: (each.task_id, each.group_id)
        )
        bare_results = by(
            (each for each in results if not each.tool_call_id), lambda each: (each.task_id, each.group_id)
        )
        rows = []
        for call in calls:
            if call.tool_call_id:
                name = (call.task_id, call.tool_call_id)
                found = [each for each in results if (each.task_id, each.tool_call_id) == name][:1]
            else:
                group = (call.task_id, call.group_id)
                nth = bare_calls[group].index(call)
                found = bare_results[group][nth : nth + 1]
            result = found[0] if found else None
            rows.append(self._paired(call, result))
        return rows

    def _paired(self, call: Seen, result: Seen | None) -> Row:
        waited = None
        if result is not None and call.timestamp != NOWHERE and result.timestamp >= call.timestamp:
            waited = (result.timestamp - call.timestamp) / 10**6
        measured = [
            each.duration_ms for each in (result, call) if each is not None and each.duration_ms is not None
        ]
        return {
            "task_id": call.task_id,
            "group_id": call.group_id,
            "tool_call_id": call.tool_call_id,
            "tool_name": call.tool_name or (result and result.tool_name),
            "agent_name": call.agent_name,
            "called_at": call.occurred_at,
            "returned_at": result and result.occurred_at,
            "duration_ms": measured[0] if measured else waited,
            "outcome": call.outcome if result is None else result.outcome or "ok",
            "error_type": (result and result.error_type) or call.error_type,
            "paired_by": None if result is None else "id" if call.tool_call_id else "order",
            "call_seq": (call.task_id, call.group_id, call.timestamp, call.ordinal),
            "result_seq": result and (result.task_id, result.group_id, result.timestamp, result.ordinal),
        }

    def v_tool(self) -> list[Row]:
        rows = []
        for tool_name, calls in by(self.v_tool_call(), lambda call: call["tool_name"]).items():
            known = [call["outcome"] for call in calls if call["outcome"] is not None]
            took = sorted(call["duration_ms"] for call in calls if call["duration_ms"] is not None)

            def share(wanted: int, took: list[float] = took) -> float | None:
                """Return the smallest duration that `wanted` per cent do not exceed."""
                return next((each for at, each in enumerate(took, 1) if 100 * at >= wanted * len(took)), None)

            rows.append(
                {
                    "tool_name": tool_name,
                    "calls": len(calls),
                    "answered": sum(call["paired_by"] is not None for call in calls),
                    "errors": known.count("error"),
                    "error_rate": known.count("error") / len(known) if known else None,
                    "p50_ms": share(50),
                    "p95_ms": share(95),
                    "max_ms": took[-1] if took else None,
                    "tasks": len({call["task_id"] for call in calls}),
                    "first_at": lowest(call["called_at"] for call in calls),
                    "last_at": highest(call["called_at"] for call in calls),
                }
            )
        return rows

    def _per_time(self, size: slice) -> dict[Any, Row]:
        """Return what the events of each stretch of time come to: by (day, hour_at, hour) or a part of it."""
        dated = [each for each in self.all if each.occurred_at is not None]
        events = by(dated, lambda each: labels(each.occurred_at, self.zone)[size])
        begun = [turn for turn in self.turns if turn["started_at"] is not None]
        turns = by(begun, lambda turn: labels(turn["started_at"], self.zone)[size])
        return {
            when: {
                "tasks": len({each.task_id for each in events[when] if not each.vanished}),
                "turns": len(turns[when]),
                "users": len({turn["user_id"] for turn in turns[when]} - {None}),
                **sums(events[when]),
            }
            for when in {*events, *turns}
        }

    def v_daily(self) -> list[Row]:
        return [{"day": day, **row} for (day,), row in self._per_time(slice(1)).items()]

    def v_hourly(self) -> list[Row]:
        found = self._per_time(slice(3)).items()
        return [{"hour_at": hour_at, "day": day, "hour": hour, **row} for (day, hour_at, hour), row in found]

    def v_user(self) -> list[Row]:
        named = [turn for turn in self.groups if turn["user_id"] is not None and turn["events"] > 0]
        rows = []
        for user_id, groups in by(named, lambda turn: turn["user_id"]).items():
            turns = [turn for turn in groups if turn["group_id"] != ""]
            seconds = [turn["duration_seconds"] for turn in turns if turn["duration_seconds"] is not None]
            rows.append(
                {
                    "user_id": user_id,
                    "tasks": len({turn["task_id"] for turn in groups}),
                    "turns": len(turns),
                    "first_at": lowest(turn["started_at"] for turn in groups),
                    "last_at": highest(turn["last_at"] for turn in groups),
                    "turn_seconds": math.fsum(seconds) if seconds else None,
                    **added(
                        groups, ("events", "tool_calls", "errors", "input_tokens", "output_tokens", "cost")
                    ),
                }
            )
        return rows

    def v_error(self) -> list[Row]:
        told = ("event_type", "event_kind", "actor", "agent_name", "tool_name", "tool_call_id", "status")
        names = ("task_id", "group_id", "timestamp", "ordinal", "occurred_at", *told, "error_type", "data")
        return [
            {**{name: getattr(each, name) for name in names}, "label": self.labels[each.task_id]}
            for each in self.present
            if each.outcome == "error"
        ]

    def v_model_usage(self) -> list[Row]:
        def measures(each: Seen) -> bool:
            return any(value is not None for value in (each.input_tokens, each.output_tokens, each.cost))

        used = [each for each in self.present if each.occurred_at is not None and measures(each)]
        found = by(used, lambda each: (labels(each.occurred_at, self.zone)[0], each.model, each.agent_name))
        return [
            {
                "day": day,
                "model": model,
                "agent_name": agent_name,
                "tasks": len({each.task_id for each in events}),
                **{name: sums(events)[name] for name in ("events", "input_tokens", "output_tokens", "cost")},
            }
            for (day, model, agent_name), events in found.items()
        ]

    def v_gap(self) -> list[Row]:
        rows = []
        timed = [each for each in self.present if each.group_id != "" and each.timestamp != NOWHERE]
        for events in by(timed, lambda each: (each.task_id, each.group_id)).values():
            events.sort(key=lambda each: (each.timestamp, each.ordinal))
            for one, following in pairwise(events):
                if following.timestamp > one.timestamp:
                    rows.append(
                        {
                            **{
                                name: getattr(one, name)
                                for name in ("task_id", "group_id", "event_type", "actor", "tool_name")
                            },
                            "started_at": one.occurred_at,
                            "ended_at": following.occurred_at,
                            "gap_seconds": between(one.occurred_at, following.occurred_at),
                        }
                    )
        return rows

    def v_revision(self) -> list[Row]:
        names = ("task_id", "group_id", "timestamp", "ordinal", "occurred_at", "event_type")
        return [
            {
                **{name: getattr(each, name) for name in names},
                "revision": number,
                "data": data,
                "data_after": [*each.earlier, each.data][number + 1],
                "vanished_at": each.vanished,
            }
            for each in self.all
            for number, data in enumerate(each.earlier)
        ]

    def v_sync_health(self) -> list[Row]:
        return [
            {
                "task_id": task_id,
                "label": label,
                "newest_event_at": highest(
                    each.occurred_at for each in self.present if each.task_id == task_id
                ),
                "vanished_events": sum(each.vanished for each in self.all if each.task_id == task_id),
            }
            for task_id, label in self.labels.items()
        ]
