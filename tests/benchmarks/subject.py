"""What does maia-sync itself cost for the work? Its own `App.sync`, as the CLI calls it."""

from __future__ import annotations

import cProfile
from typing import TYPE_CHECKING, Self

import maia_sync.app
import maia_sync.sync.page
from maia_sync.app import open_app
from maia_sync.cli.collector import collect_seldom
from maia_sync.facet_settings import FACETS
from maia_sync.sync.handover import InlineHandover
from tests.benchmarks.child import read_job, ready, report
from tests.benchmarks.subject_settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.app import App
    from maia_sync.model import RunReport
    from tests.benchmarks.child import Job


def open_subject(job: Job) -> App:
    """Connect maia-sync to the job's server and database."""
    return open_app(settings_of(job))


class _InlineHandover(InlineHandover):
    """Takes the place of the threads: cProfile sees one thread only."""

    def __init__(self, threads: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def profiled(app: App, path: str) -> RunReport:
    """Sync in one thread under cProfile."""
    vars(maia_sync.app)["ThreadHandover"] = _InlineHandover
    with cProfile.Profile() as profile:
        done = app.sync()
    profile.dump_stats(path)
    return done


class _NoFacets:
    """Reads nothing from payloads."""

    version = 0

    def __init__(self, _: object) -> None:
        self._nothing = ("",) * len(FACETS)
        self.told: set[str] = set()

    def read(self, _: object) -> tuple[str, ...]:
        """Return no facet."""
        return self._nothing

    def read_all(self, payloads: Sequence[object]) -> tuple[Sequence[str], ...]:
        """Return no facet of many payloads."""
        return (("",) * len(payloads),) * len(FACETS)


def leave_out(job: Job) -> None:
    """Take parts of the analytics out of this process."""
    if "facets" in job.without:
        vars(maia_sync.app)["FacetReader"] = _NoFacets
    if "summaries" in job.without:
        vars(maia_sync.sync.page)["add_events"] = lambda *_: None


def main() -> None:
    """Do the job and tell what it took."""
    job = read_job()
    leave_out(job)
    with open_subject(job) as app:
        collect_seldom()  # as the verb does
        ready()
        done = app.sync() if job.profile is None else profiled(app, job.profile)
    assert done.status == "succeeded", done.error
    report(done.new + done.unchanged)


if __name__ == "__main__":
    main()
