"""What do the requests alone cost? One for each task's last page, by httpx, eight at a time, none decoded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from tests.benchmarks.child import read_job, ready, report

if TYPE_CHECKING:
    from tests.benchmarks.child import Job


async def run(job: Job) -> None:
    """Make the requests."""
    params: dict[str, str | int] = {"limit": job.work.page_size}
    if job.first_token is not None:
        params["paginationToken"] = job.first_token
    ids = iter(job.work.task_ids)

    async def ask_on(client: httpx.AsyncClient) -> None:
        for task_id in ids:
            response = await client.get(
                f"{job.base_url}/v1/ai/agents/tasks/{task_id}/messages", params=params
            )
            assert response.status_code == 200

    async with httpx.AsyncClient(headers={"Authorization": "Bearer bare"}) as client:
        await asyncio.gather(*(ask_on(client) for _ in range(8)))


def main() -> None:
    """Do the job and tell what it took."""
    job = read_job()
    ready()
    asyncio.run(run(job))
    report(None)


if __name__ == "__main__":
    main()
