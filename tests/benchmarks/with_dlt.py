"""What does dlt cost for the work? A resource that pages by a cursor, appended or merged, by its defaults.

Runs under an interpreter that has dlt and need not have anything else. Payloads are hinted as JSON and times
as text, so that dlt neither takes them apart into child tables nor reads them; it tells its maker nothing.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

from tests.benchmarks.child import read_job, ready, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.child import Job

_COLUMNS = {
    "data": {"data_type": "json"},
    "group_id": {"data_type": "text"},
    "timestamp": {"data_type": "text"},
}


def resource(job: Job) -> Any:
    """Return every page of every task as a dlt resource."""
    client = RESTClient(
        base_url=job.base_url,
        auth=BearerTokenAuth("dlt"),
        paginator=JSONResponseCursorPaginator(cursor_path="more", cursor_param="paginationToken"),
        data_selector="results",
    )

    @dlt.resource(
        name="task_event",
        write_disposition=job.disposition,
        primary_key=("task_id", "group_id", "timestamp"),
        columns=_COLUMNS,
    )
    def task_event() -> Iterator[list[dict[str, Any]]]:
        for task_id in job.work.task_ids:
            path = f"/v1/ai/agents/tasks/{task_id}/messages"
            for page in client.paginate(path, params={"limit": job.work.page_size}):
                yield [{"task_id": task_id, **event} for event in page]

    return task_event


def main() -> None:
    """Do the job and tell what it took."""
    job = read_job()
    if job.dialect == "sqlite":
        destination, dataset = dlt.destinations.sqlalchemy(f"sqlite:///{job.database}"), "main"
    else:
        address = job.database.replace(
            "@/", "@localhost/"
        )  # dlt wants one; libpq goes by the socket behind it
        destination, dataset = dlt.destinations.postgres(address), "public"
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "benchmark", pipelines_dir=folder, destination=destination, dataset_name=dataset
        )
        ready()
        pipeline.run(resource(job))
        report(pipeline.last_trace.last_normalize_info.row_counts["task_event"])


if __name__ == "__main__":
    main()
