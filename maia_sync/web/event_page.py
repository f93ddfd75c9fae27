"""What is stored of one event, to the letter? Its columns, payload, revisions; and what is in quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import escape
from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import Response  # noqa: TC002
from starlette.routing import BaseRoute, Route

from maia_sync.facet_settings import FACETS
from maia_sync.model import NO_TIMESTAMP
from maia_sync.report.visible import visible
from maia_sync.store.timeline import (
    TimelineRow,
    read_event,
    read_neighbour,
    read_refused,
    read_refused_bytes,
    read_revisions,
)
from maia_sync.web.addresses import read_whole_number
from maia_sync.web.asked_task import event_name_of, no_such_event, task_id_of, task_of
from maia_sync.web.difference import LONGEST_LAID_OUT, Difference, compare
from maia_sync.web.payload_text import lay_out
from maia_sync.web.sending import Sending
from maia_sync.web.site import NotThere
from maia_sync.web.threads import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.store.database import Transaction
    from maia_sync.store.named_rows import RowName
    from maia_sync.store.timeline import Refused, Revision
    from maia_sync.web.site import Site

_LONGEST_PAYLOAD: Final = 100_000
_LONGEST_EXTRA: Final = 20_000
_MOST_REVISIONS: Final = 20
_LONGEST_REVISIONS: Final = 150_000
_COMPARED_PER_LETTER: Final = 2
"""How many letters compared weigh as much as one that is shown."""
_CHUNK: Final = 65_536
_SMALL: Final = 256 * 1024
"""Bytes that may be held for every visitor; of what is larger, only a few at once."""
_LARGE_AT_ONCE: Final = 3
_MOST_REFUSED: Final = 50
_LONGEST_RAW: Final = 4_000
_ATTACHED: Final = {"X-Content-Type-Options": "nosniff"}


class Shown(msgspec.Struct, frozen=True):
    """A text that may be the beginning of a longer one."""

    text: str
    is_cut: bool


class Change(msgspec.Struct, frozen=True):
    """An earlier payload, and what became different after it."""

    revision: Any
    """A Revision, without its texts."""
    payload: Difference
    extra: Difference
    newer_is_removed: bool


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """All that an event's page shows."""

    row: Any
    """A TimelineRow."""
    payload: Any
    """A Shown; None if there is no payload."""
    extra: Any
    changes: tuple[Change, ...]
    more_changes: int
    """How many earlier ones are left out."""
    previous: Any
    """The name of the event before it; None at the log's beginning."""
    following: Any

    @property
    def facets(self) -> list[tuple[str, object]]:
        """What was read from the payload, by column; what is not told is left out."""
        return [(name, value) for name in FACETS if (value := getattr(self.row, name)) is not None]

    @property
    def has_instant(self) -> bool:
        """Tell whether it has a timestamp of its own in the key."""
        return bool(self.row.timestamp != NO_TIMESTAMP)


def routes(site: Site) -> list[BaseRoute]:
    """Return the paths of single events and of the quarantine."""
    endpoints = _Events(site)
    pages = {
        "event": endpoints.event,
        "payload": endpoints.payload,
        "quarantine": endpoints.quarantine,
        "quarantine/{number}": endpoints.refused,
    }
    return [
        Route(f"/tasks/{{task_id}}/{path}", site.answering(endpoint), methods=["GET"])
        for path, endpoint in pages.items()
    ]


class _Events:
    """The pages of single events."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._large = Turns(
            _LARGE_AT_ONCE,
            patience=0,
            sentence="Other large payloads are being sent: try again in a minute",
            retry_after=60,
        )

    async def event(self, request: Request) -> Response:
        """Answer with all that is stored of an event."""
        task_id, name = task_id_of(request), event_name_of(request)
        task, told = await self._site.read(self._read, task_id, name)
        return await self._site.render(request, "event.html", task=task, told=told, row=told.row)

    def _read(self, task_id: str, name: RowName) -> tuple[Any, Told]:
        with self._site.database.transaction(write=False) as tx:
            task = task_of(tx, task_id)
            row = read_event(tx, task_id, name)
            if row is None:
                raise no_such_event()
            changes = tuple(_changes(tx, row))
            before = read_neighbour(tx, task_id, row.position, backwards=True)
            behind = read_neighbour(tx, task_id, row.position)
        return task, Told(
            row=row,
            payload=_shown(row.data, _LONGEST_PAYLOAD),
            extra=_shown(row.extra, _LONGEST_EXTRA),
            changes=changes,
            more_changes=row.revision - len(changes),
            previous=None if before is None else (before[3], before[4], before[2]),
            following=None if behind is None else (behind[3], behind[4], behind[2]),
        )

    async def payload(self, request: Request) -> Response:
        """Answer with a payload as it is stored, to be saved."""
        task_id, name = task_id_of(request), event_name_of(request)
        number = request.query_params.get("revision")
        revision = None if number is None else read_whole_number(number, "revision")
        body = await self._site.read(self._payload, task_id, name, revision)
        file_name = f"event-{task_id[:8]}-{name[1]}-{name[2]}" + ("" if revision is None else f"-r{revision}")
        return await self._attachment(body, "application/json", f"{file_name}.json")

    def _payload(self, task_id: str, name: RowName, revision: int | None) -> bytes:
        with self._site.database.transaction(write=False) as tx:
            found: TimelineRow | Revision | None = read_event(tx, task_id, name)
            if found is not None and revision is not None and revision != found.revision:
                earlier = read_revisions(tx, task_id, name, limit=1, before=_next(revision))
                found = next((each for each in earlier if each.revision == revision), None)
        if found is None:
            raise no_such_event()
        if found.pruned_at is not None:
            raise _removed(found)
        if found.data is None:
            raise NotThere("This event has no payload.")
        return found.data.encode()

    async def quarantine(self, request: Request) -> Response:
        """Answer with what of a task could not be stored as events."""
        task_id = task_id_of(request)
        before = request.query_params.get("before")
        number = None if before is None else read_whole_number(before, "before")
        task, found = await self._site.read(self._refused, task_id, number)
        elements = [(each, _bytes_shown(each)) for each in found[:_MOST_REFUSED]]
        return await self._site.render(
            request,
            "quarantine.html",
            task=task,
            elements=elements,
            has_more=len(found) > _MOST_REFUSED,
            is_continued=number is not None,
        )

    def _refused(self, task_id: str, before: int | None) -> tuple[Any, list[Refused]]:
        with self._site.database.transaction(write=False) as tx:
            task = task_of(tx, task_id)
            return task, read_refused(tx, task_id, before=before, limit=_MOST_REFUSED + 1)

    async def refused(self, request: Request) -> Response:
        """Answer with the bytes of an element in quarantine, to be saved."""
        task_id = task_id_of(request)
        number = read_whole_number(request.path_params["number"], "the number")
        raw = await self._site.read(self._bytes, task_id, number)
        return await self._attachment(raw, "application/octet-stream", f"quarantined-{number}.bin")

    def _bytes(self, task_id: str, number: int) -> bytes:
        with self._site.database.transaction(write=False) as tx:
            raw = read_refused_bytes(tx, task_id, number)
        if raw is None:
            raise NotThere("There is no such element in quarantine.")
        if raw == b"":
            raise NotThere("The element was taken out of this database.")
        return raw

    async def _attachment(self, body: bytes, media_type: str, file_name: str) -> Response:
        """Return what a browser saves. Raises Busy where too many large ones are held for slow visitors."""
        end_turn = await self._large.take() if len(body) > _SMALL else None
        parts = (memoryview(body)[at : at + _CHUNK] for at in range(0, len(body), _CHUNK))

        async def part() -> bytes | memoryview:
            return next(parts, b"")

        headers = {
            **_ATTACHED,
            "Content-Disposition": f'attachment; filename="{file_name}"',
            "Content-Length": str(len(body)),
        }
        return Sending(part, end_turn or _keep, media_type=media_type, headers=headers)


def _keep() -> None:
    """End no turn: what is small needs none."""


def _next(revision: int) -> int:
    return min(revision + 1, 2**31 - 1)


def _changes(tx: Transaction, row: TimelineRow) -> Iterator[Change]:
    """Yield earlier payloads with what changed after each, the latest first, as far as there is room.

    They are read one by one: each can have megabytes, and comparing takes time.
    """
    left = _LONGEST_REVISIONS
    newer: TimelineRow | Revision = row
    for _ in range(min(row.revision, _MOST_REVISIONS)):
        earlier = read_revisions(tx, row.task_id, row.name, limit=1, before=newer.revision)
        if not earlier:
            return
        older = earlier[0]
        change = Change(
            msgspec.structs.replace(older, data=None if older.data is None else "", extra=None),
            *_differences(older, newer),
            newer.pruned_at is not None,
        )
        left -= sum(line.size for part in (change.payload, change.extra) for line in part.lines)
        if left < 0 and newer is not row:
            return
        yield change
        texts = (older.data, newer.data, older.extra, newer.extra)
        left -= sum(min(len(text or ""), LONGEST_LAID_OUT) for text in texts) // _COMPARED_PER_LETTER
        newer = older


def _differences(older: Revision, newer: TimelineRow | Revision) -> tuple[Difference, Difference]:
    """Compare two payloads; there is no difference to be shown where one of them was taken out."""
    if older.pruned_at is not None or newer.pruned_at is not None:
        return Difference(()), Difference(())
    return compare(older.data, newer.data), compare(older.extra, newer.extra)


def _removed(found: TimelineRow | Revision | Refused) -> NotThere:
    return NotThere(
        "It was erased, here and from the archive."
        if found.erased_at is not None
        else "It was pruned from this database; the archive has it."
    )


def _shown(text: str | None, most: int) -> Shown | None:
    """Return JSON laid out, or its beginning: at most so many bytes as HTML."""
    if text is None:
        return None
    laid = lay_out(text, most=most)
    shown = visible(laid.text)
    is_cut = not laid.is_whole
    while (size := len(escape(shown).encode())) > most:
        shown = shown[: len(shown) * most // size - 1]
        is_cut = True
    return Shown(shown, is_cut)


def _bytes_shown(element: Refused) -> Shown:
    r"""Return bytes as text, in which those that are none stand as \xff."""
    text = element.raw.decode("utf-8", "backslashreplace")
    return Shown(text[:_LONGEST_RAW], element.size > len(element.raw) or len(text) > _LONGEST_RAW)
