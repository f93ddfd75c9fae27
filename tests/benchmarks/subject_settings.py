"""How is maia-sync configured where it is measured? With its defaults, but for what the work says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from maia_sync.settings import ApiSettings, AuthSettings, DatabaseSettings, Secret, Settings

if TYPE_CHECKING:
    from tests.benchmarks.child import Job


def settings_of(job: Job) -> Settings:
    """Return the settings for a job."""
    transport: Literal["httpx", "aiohttp"] = "aiohttp" if job.fast else "httpx"
    return Settings(
        api=ApiSettings(base_url=job.base_url, page_size=job.work.page_size, transport=transport),
        auth=AuthSettings(token=Secret("subject")),
        database=DatabaseSettings(url=job.database),
    )
