"""On which day was that? The reporting time zone, and the quarters of an hour that have a day in it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select, update

from maia_sync.store.schema import reporting_zone, task_activity, task_turn

if TYPE_CHECKING:
    from maia_sync.store.database import Transaction

_QUARTER_OF = {f"{minute:02d}": f"{minute // 15 * 15:02d}" for minute in range(60)}
_LATEST = timedelta(minutes=14, seconds=59, microseconds=999_999)


class Labels(NamedTuple):
    """How the reporting time zone calls a quarter of an hour."""

    day: str
    """YYYY-MM-DD"""
    hour_at: str
    """When the hour began, in UTC, as `occurred_at` is written."""
    hour: int
    """0 to 23, by the clock on the wall."""


def slot_of(occurred_at: str) -> str:
    """Return when the quarter of an hour of a moment began; both as `YYYY-MM-DD HH:MM:SS.ffffff`."""
    return f"{occurred_at[:14]}{_QUARTER_OF[occurred_at[14:16]]}:00.000000"


@lru_cache(maxsize=4096)
def labels_of(slot_at: str, zone: str) -> Labels:
    """Return how a time zone calls a quarter of an hour."""
    moment = datetime.fromisoformat(slot_at).replace(tzinfo=UTC)
    try:
        local = moment.astimezone(ZoneInfo(zone))
        hour_at = moment - timedelta(minutes=local.minute, seconds=local.second)
    except OverflowError:  # the first and the last hours of the calendar
        local, hour_at = moment, moment.replace(minute=0)
    return Labels(day=local.date().isoformat(), hour_at=text_of(hour_at), hour=local.hour)


def last_of_slot(slot_at: datetime) -> datetime:
    """Return the last microsecond of a quarter of an hour."""
    return slot_at + _LATEST


def text_of(moment: datetime) -> str:
    """Return a moment in UTC as SQLite keeps it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def read_zone(tx: Transaction, *, for_writing: bool = False) -> str:
    """Return the reporting time zone; `for_writing` keeps it as it is until the transaction ends."""
    lock = " FOR SHARE" if for_writing and tx.is_postgresql else ""
    found: str | None = tx.connection.exec_driver_sql(f"SELECT name FROM reporting_zone{lock}").scalar()
    return found or "UTC"


def settle_zone(tx: Transaction, zone: str) -> bool:
    """Tell days and hours in this time zone from now on; return whether it was another before."""
    if read_zone(tx) == zone:
        return False
    if tx.connection.execute(update(reporting_zone).values(name=zone)).rowcount == 0:
        tx.connection.execute(reporting_zone.insert().values(name=zone))
    _label_again(tx, zone)
    return True


def _label_again(tx: Transaction, zone: str) -> None:
    activity, turn = task_activity.c, task_turn.c
    new_day_and_hour: dict[str, Any] = {"day": bindparam("new_day"), "hour_at": bindparam("new_hour_at")}
    slots = tx.connection.execute(select(activity.slot_at, activity.day).distinct()).all()
    of_slot = (activity.day == bindparam("told_day")) & (activity.slot_at == bindparam("of_slot"))
    relabelled = [
        {"of_slot": slot_at, "told_day": told, "new_hour": hour, "new_day": day, "new_hour_at": hour_at}
        for slot_at, told in slots
        for day, hour_at, hour in [_labels_as_values(slot_at, zone)]
    ]
    if relabelled:
        values = {**new_day_and_hour, "hour": bindparam("new_hour")}
        tx.connection.execute(update(task_activity).where(of_slot).values(values), relabelled)
    moments = tx.connection.execute(select(turn.started_at).where(turn.started_at.is_not(None)).distinct())
    started = [
        {"of_slot": slot_at, "last_of_slot": last_of_slot(slot_at), "new_day": day, "new_hour_at": hour_at}
        for slot_at in {_slot_at(moment) for moment in moments.scalars()}
        for day, hour_at, _ in [_labels_as_values(slot_at, zone)]
    ]
    if started:
        within = turn.started_at.between(bindparam("of_slot"), bindparam("last_of_slot"))
        tx.connection.execute(update(task_turn).where(within).values(**new_day_and_hour), started)


def _slot_at(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _labels_as_values(slot_at: datetime, zone: str) -> tuple[date, datetime, int]:
    day, hour_at, hour = labels_of(text_of(slot_at), zone)
    return date.fromisoformat(day), datetime.fromisoformat(f"{hour_at}+00:00"), hour
