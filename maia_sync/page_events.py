"""How are the events of a large page handed on? Column by column, each Event made when asked for.

A backfill decodes, compares and stores a thousand events a page without looking at any of them alone: what
it does to a column is done by the interpreter's own loops. Whoever wants one event, or all, has a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from maia_sync.model import Event, NewRow

if TYPE_CHECKING:
    from collections.abc import Iterator


class PageEvents(Sequence[Event]):
    """Events as columns of equal length, named as Event names them; never changed once made."""

    def __init__(
        self,
        *,
        group_ids: Sequence[str],
        timestamps: Sequence[int],
        timestamp_texts: Sequence[str | None],
        occurred_ats: Sequence[str | None],
        data: Sequence[str | None],
        digests: Sequence[bytes],
        extras: Sequence[str | None] | None = None,
    ) -> None:
        self.group_ids = group_ids
        self.timestamps = timestamps
        self.timestamp_texts = timestamp_texts
        self.occurred_ats = occurred_ats
        self.data = data
        self.digests = digests
        self.extras = extras
        """None: no event has any."""
        self._made: list[Event] | None = None

    @classmethod
    def of(cls, events: Sequence[Event]) -> PageEvents:
        """Return events as columns."""
        if isinstance(events, cls):
            return events
        return cls(
            group_ids=[event.group_id for event in events],
            timestamps=[event.timestamp for event in events],
            timestamp_texts=[event.timestamp_text for event in events],
            occurred_ats=[event.occurred_at for event in events],
            data=[event.data for event in events],
            digests=[event.digest for event in events],
            extras=[event.extra for event in events],
        )

    def __len__(self) -> int:
        return len(self.digests)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._events()[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._events() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _events(self) -> list[Event]:
        if self._made is None:
            self._made = [
                Event(
                    group_id=group_id,
                    timestamp=timestamp,
                    timestamp_text=timestamp_text,
                    occurred_at=occurred_at,
                    data=data,
                    extra=extra,
                    digest=digest,
                )
                for group_id, timestamp, timestamp_text, occurred_at, data, extra, digest in zip(
                    self.group_ids,
                    self.timestamps,
                    self.timestamp_texts,
                    self.occurred_ats,
                    self.data,
                    self.extras or (None,) * len(self),
                    self.digests,
                    strict=True,
                )
            ]
        return self._made


class NewRows(Sequence[NewRow]):
    """Rows for all events of a page, each the only one of its key, at places of their own."""

    def __init__(self, events: PageEvents, places: Sequence[int]) -> None:
        self.events = events
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> NewRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[NewRow]: ...
    def __getitem__(self, index: int | slice) -> NewRow | list[NewRow]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return NewRow(event=self.events[index], ordinal=0, seq=self.places[index])


def events_of(rows: Sequence[NewRow]) -> PageEvents:
    """Return the events of new rows."""
    return rows.events if isinstance(rows, NewRows) else PageEvents.of([row.event for row in rows])
