"""What does this work cost at least? The shortest honest script: no checkpoint, no identity, no retry.

asyncio + httpx, msgspec with raw payloads, one executemany (SQLite) or COPY (PostgreSQL) a page,
eight tasks at a time. Its table has the plain text key that such a script would have. Where logs have been
read before, it is told each one's last page beforehand, and passes over the rows that are there.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import httpx
import msgspec

from tests.benchmarks.child import read_job, ready, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.child import Job

TABLE = """CREATE TABLE IF NOT EXISTS task_event (task_id text, group_id text, "timestamp" text, data {json},
PRIMARY KEY (task_id, group_id, "timestamp"))"""
Rows = list[tuple[str, str | None, str | None, str]]


class Event(msgspec.Struct, gc=False):
    data: msgspec.Raw
    groupId: str | None = None  # noqa: N815 - the contract's spelling
    timestamp: str | None = None


class Page(msgspec.Struct):
    results: list[Event]
    more: str | None = None


decode = msgspec.json.Decoder(Page).decode


def open_sqlite(job: Job) -> Callable[[Rows], None]:
    connection = sqlite3.connect(job.database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(TABLE.format(json="text"))
    or_what = "OR IGNORE " if job.phase == "trickle" else ""

    def write(rows: Rows) -> None:
        with connection:
            connection.executemany(f"INSERT {or_what}INTO task_event VALUES (?, ?, ?, ?)", rows)

    return write


def open_postgresql(job: Job) -> Callable[[Rows], None]:
    import psycopg

    connection = psycopg.connect(job.database)
    connection.execute(TABLE.format(json="json"))
    connection.commit()

    def write_new(rows: Rows) -> None:
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO task_event VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", rows)
        connection.commit()

    def write(rows: Rows) -> None:
        with connection.cursor() as cursor, cursor.copy("COPY task_event FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.commit()

    return write_new if job.phase == "trickle" else write


async def walk(client: httpx.AsyncClient, job: Job, task_id: str, write: Callable[[Rows], None]) -> int:
    url = f"{job.base_url}/v1/ai/agents/tasks/{task_id}/messages"
    params: dict[str, str | int] = {"limit": job.work.page_size}
    if job.first_token is not None:
        params["paginationToken"] = job.first_token
    count = 0
    while True:
        response = await client.get(url, params=params)
        page = decode(response.content)
        rows = [
            (task_id, event.groupId, event.timestamp, bytes(event.data).decode()) for event in page.results
        ]
        if job.phase != "idle":
            write(rows)
        count += len(rows)
        if page.more is None:
            return count
        params["paginationToken"] = page.more


async def run(job: Job, write: Callable[[Rows], None]) -> int:
    ids = iter(job.work.task_ids)
    counts = []

    async def walk_on(client: httpx.AsyncClient) -> None:
        for task_id in ids:
            counts.append(await walk(client, job, task_id, write))

    async with httpx.AsyncClient(headers={"Authorization": "Bearer floor"}) as client:
        await asyncio.gather(*(walk_on(client) for _ in range(8)))
    return sum(counts)


def main() -> None:
    job = read_job()
    write = open_sqlite(job) if job.dialect == "sqlite" else open_postgresql(job)
    ready()
    report(asyncio.run(run(job, write)))


if __name__ == "__main__":
    main()
