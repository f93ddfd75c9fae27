"""What does an entry of the archive's log say to a person? Names and values, for a list or for one line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from maia_sync.archive.entry import RedactedFacts, SegmentFacts, facts_of
from maia_sync.archive.finding import shown
from maia_sync.cli.durations import show_moment
from maia_sync.cli.escaping import one_line
from maia_sync.cli.wording import counted, sized
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archived import (
    ErasureFacts,
    HoldFacts,
    QuarantineFacts,
    Removed,
    RunFacts,
    SentFacts,
    TaskFacts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.entry import Entry

_NUMBERED = {"run": "Run", "sent": "Message", "quarantine": "Element", "hold": "Hold", "erasure": "Erasure"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 10**9
_LONGEST_TYPE = len("quarantine")
_LONGEST_MOMENT = len("2026-01-05T08:00:00.000000Z")


def line_of(number: int, entry: Entry) -> str:
    """Return an entry as one line."""
    told = ", ".join(f"{name.lower()} {value}" for name, value in told_of(entry))
    head = f"{number:>8}  {entry.received or '-':<{_LONGEST_MOMENT}}  {entry.type:<{_LONGEST_TYPE}}"
    return one_line(f"{head}  {told}").rstrip()


def told_of(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield what an entry says, apart from its type, the moment of receipt, and the payload's hash."""
    named = {
        "Task": entry.task,
        "Group": None if entry.group is None else shown(entry.group),
        "Timestamp": _timestamp(entry),
        "Ordinal": entry.ordinal,
        "Revision": entry.revision,
        _NUMBERED.get(entry.type, "Number"): entry.id,
    }
    if entry.run is not None:
        named["Run"] = entry.run
    yield from ((name, str(value)) for name, value in named.items() if value is not None)
    yield from _of_removed(entry.removed or Removed())
    try:
        facts = facts_of(entry)
    except ValueError:
        yield "More", "what this version cannot read"
        return
    match facts:
        case RunFacts():
            yield from _of_run(facts)
        case SentFacts():
            yield "Sent by", facts.sent_by
            yield "Outcome", facts.outcome
            yield from _error(facts.error)
        case QuarantineFacts():
            yield "Reason", facts.reason
        case SegmentFacts() | RedactedFacts():
            yield from _of_file(facts)
        case TaskFacts():
            yield from _of_task(facts)
        case HoldFacts():
            yield from _of_hold(entry, facts)
        case ErasureFacts():
            yield "Meant", "all of it" if facts.before is None else f"what is older than {facts.before}"
            yield "Payloads", f"{facts.payloads:,}"
            yield "Erased by", facts.erased_by
            yield "Reason", facts.reason
            yield "Basis", facts.basis


def _of_file(file: SegmentFacts | RedactedFacts) -> Iterator[tuple[str, str]]:
    yield "File", file.path
    yield "SHA-256", file.sha256
    yield "Rows", f"{file.rows:,}, of entries {file.first} to {file.end - 1}"
    if isinstance(file, RedactedFacts):
        yield "In place of", file.replaces
        yield "Erasure", f"entry {file.erasure}"


def _of_removed(removed: Removed) -> Iterator[tuple[str, str]]:
    for name, moment in (("Pruned", removed.pruned_at), ("Erased", removed.erased_at)):
        if moment is not None:
            yield name, show_moment(moment)


def _of_task(task: TaskFacts) -> Iterator[tuple[str, str]]:
    if task.label is not None:
        yield "Label", shown(task.label)
    yield "Status", task.status if task.paused_by is None else f"{task.status} by {task.paused_by}"
    yield "Tracked since", show_moment(task.tracked_at)
    yield "Listed by", ", ".join(task.sources) or "nobody"
    yield "Order", task.log_order or "not known yet"


def _of_hold(entry: Entry, hold: HoldFacts) -> Iterator[tuple[str, str]]:
    if entry.task is None:
        yield "On", "all tasks"
    yield "Held by", hold.held_by
    yield "Reason", hold.reason
    if hold.released_at is not None:
        yield "Released", show_moment(hold.released_at)
        yield "Released by", hold.released_by or "not known"
        yield "Released because", hold.release_reason or "not known"


def _timestamp(entry: Entry) -> str | None:
    """Return an event's timestamp as it came, or else as the key has it."""
    if entry.timestamp_text is not None or entry.timestamp is None:
        return entry.timestamp_text
    if entry.timestamp == NO_TIMESTAMP:
        return "none"
    try:
        seconds, rest = divmod(entry.timestamp, _SECOND)
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return str(entry.timestamp)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _of_run(run: RunFacts) -> Iterator[tuple[str, str]]:
    yield "Kind", run.kind
    yield "Result", run.status
    yield "Started", show_moment(run.started_at)
    yield "Ended", show_moment(run.ended_at)
    yield "Worker", run.worker
    yield "Asked", run.upstream_host or "not known"
    yield "Credential", run.credential or "not known"
    yield "Version", run.version or "not known"
    yield "Tasks", f"{run.tasks:,} ({run.tasks_failed:,} failed, {run.tasks_held:,} left to others)"
    met = f"{run.events_new:,} new, {run.events_changed:,} changed, {run.events_unchanged:,} unchanged"
    yield "Events", f"{met}, {run.events_vanished:,} vanished, {run.quarantined:,} in quarantine"
    received = f"{counted(run.pages, 'page')} of {sized(run.bytes)}"
    yield "Read", f"{received} in {counted(run.requests, 'request')}"
    yield from _error(run.error)


def _error(error: str | None) -> Iterator[tuple[str, str]]:
    if error is not None:
        yield "Error", shown(error)
