"""Which task, and which of its events, does an address name?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.service.task_list import read_task_id
from maia_sync.store.tasks import read_tasks
from maia_sync.web.addresses import read_whole_number
from maia_sync.web.site import NotThere

if TYPE_CHECKING:
    from starlette.requests import Request

    from maia_sync.model import Task
    from maia_sync.store.database import Transaction
    from maia_sync.store.named_rows import RowName


def task_id_of(request: Request) -> str:
    """Return the task of an address. Raises NotThere for what names none."""
    task_id = read_task_id(request.path_params["task_id"])
    if task_id is None:
        raise NotThere("There is no such task: an address of one has its id in it.")
    return task_id


def task_of(tx: Transaction, task_id: str) -> Task:
    """Return a task. Raises NotThere unless it is, or was, tracked."""
    found = read_tasks(tx, task_ids=[task_id])
    if not found:
        raise NotThere(f"Task {task_id} is not tracked.")
    return found[0]


def event_name_of(request: Request) -> RowName:
    """Return the name of the event of an address. Raises UsageError or NotThere for what names none."""
    query = request.query_params
    group_id = query.get("group", "")
    timestamp = read_whole_number(query.get("timestamp", ""), "timestamp")
    ordinal = read_whole_number(query.get("ordinal", "0"), "ordinal")
    if not 0 <= ordinal < 2**31 or "\0" in group_id:
        raise no_such_event()
    return (group_id, timestamp, ordinal)


def no_such_event() -> NotThere:
    """Return the answer for an event that is not stored."""
    return NotThere("There is no such event in this task.")
