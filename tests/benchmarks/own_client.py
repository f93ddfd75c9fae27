"""What does maia-sync's own client cost without a database? The pages of `bare.py`, fetched and decoded."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from maia_sync.clock import SystemClock
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from tests.benchmarks.child import read_job, ready, report
from tests.benchmarks.subject_settings import settings_of

if TYPE_CHECKING:
    from tests.benchmarks.child import Job


async def run(job: Job) -> int:
    """Fetch the pages; return their events."""
    settings, clock = settings_of(job), SystemClock()
    auth = make_auth(settings.auth, clock=clock, api=settings.api)
    ids = iter(job.work.task_ids)
    counts = []

    async def fetch_on(client: MaiaClient) -> None:
        for task_id in ids:
            page = await client.fetch_page(task_id, job.first_token)
            counts.append(len(page.events))

    async with MaiaClient(settings.api, auth, clock=clock, random=Random()) as client:
        await asyncio.gather(*(fetch_on(client) for _ in range(settings.api.concurrency)))
    return sum(counts)


def main() -> None:
    """Do the job and tell what it took."""
    job = read_job()
    ready()
    report(asyncio.run(run(job)))


if __name__ == "__main__":
    main()
