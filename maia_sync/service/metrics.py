"""How does it go, in numbers for Prometheus? Counters from what is observed, gauges from the database.

Units are the base ones (seconds, bytes), names begin with `maia_sync_`, and no label grows with the
number of tasks or with what upstream sends. One object lives as long as the process, through reloads
of the configuration; it has a registry of its own.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from maia_sync import errors
from maia_sync.errors import MaiaSyncError
from maia_sync.model import PageApplied, RequestMade, RunReport, Waited, WalkReport
from maia_sync.service.health import Question
from maia_sync.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from maia_sync.clock import Clock
    from maia_sync.model import Observation, RunKind, TaskStatus
    from maia_sync.store.gauges import Gauges

_REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_COMMIT_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_KNOWN_STATUSES = {status.value for status in HTTPStatus}
_ERROR_KINDS = {
    name
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, MaiaSyncError)
}
_FRESH = 5.0


class Metrics:
    """Every number. An observer, and what else happens is noted by its methods.

    `read` reads the gauges from the database; it may block, and is called in a thread of its own.
    """

    def __init__(self, *, read: Callable[[], Gauges], clock: Clock) -> None:
        self._clock = clock
        self._gauges = Question(read, clock=clock, fresh=_FRESH)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("maia_sync_build", "The version that runs.", registry=self._registry).info(
            {"version": __version__}
        )
        self._make_run_metrics()
        self._make_request_metrics()
        self._make_daemon_metrics()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"maia_sync_{name}", help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"maia_sync_{name}", help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"maia_sync_{name}", help_text, labels, buckets=buckets, registry=self._registry)

    def _make_run_metrics(self) -> None:
        self._last_success = self._gauge(
            "last_success_timestamp_seconds", "When the latest run that succeeded ended.", "kind"
        )
        self._last_duration = self._gauge(
            "last_run_duration_seconds", "How long the latest run took.", "kind"
        )
        self._runs = self._counter("runs_total", "Runs that have ended.", "kind", "status")
        self._walks = self._counter("walks_total", "Walks of one task, by how they ended.", "result")
        self._failures = self._counter("walk_failures_total", "Walks that failed, by their error.", "error")
        self._events = self._counter(
            "events_total", "Events of stored pages, by what became of them.", "result"
        )
        self._pages = self._counter("pages_total", "Pages stored, by the kind of walk.", "kind")
        self._bytes = self._counter("page_bytes_total", "Bytes of the pages stored.")
        self._commits = self._histogram(
            "commit_duration_seconds", "How long the transaction of a page took.", _COMMIT_BUCKETS
        )
        for event in ("new", "changed", "unchanged", "vanished", "quarantined"):
            self._events.labels(event)
        for walk in ("news", "quiet", "failed", "gave_way", "held", "lease_lost"):
            self._walks.labels(walk)

    def _make_request_metrics(self) -> None:
        self._requests = self._counter(
            "requests_total",
            "Requests to the API, by the answer's status; none: no answer.",
            "method",
            "status",
        )
        self._request_times = self._histogram(
            "request_duration_seconds", "How long a request to the API took.", _REQUEST_BUCKETS, "method"
        )
        self._waits = self._counter(
            "retry_waits_total", "Waits before something was tried again, by the error.", "cause"
        )
        self._wait_seconds = self._counter(
            "retry_wait_seconds_total", "Seconds of these waits; of several at once, the sum.", "cause"
        )
        self._request_times.labels("GET")

    def _make_daemon_metrics(self) -> None:
        self._jobs_missed = self._counter("jobs_missed_total", "Jobs that could not start in time.", "job")
        self._jobs_failed = self._counter("jobs_failed_total", "Jobs that failed.", "job")
        self._discoveries = self._counter(
            "discovery_failures_total", "Times that a source of tasks could not be read.", "source"
        )
        self._pings = self._counter("pings_total", "Pings of schedule.heartbeat_url.", "result")
        self._archived = self._counter(
            "archived_entries_total", "Entries that were added to the archive's log."
        )
        self._anchors = self._counter(
            "archive_anchors_total", "Checkpoints handed to whoever keeps them.", "result"
        )
        self._prunes = self._counter(
            "prunes_total", "Times that old payloads were to be pruned after archiving.", "result"
        )
        self._pruned = self._counter("pruned_payloads_total", "Payloads that were pruned then.")
        self._reloads = self._counter("reloads_total", "Reloads of the configuration.", "result")
        for result in ("succeeded", "failed"):
            self._pings.labels(result)
            self._reloads.labels(result)
            self._anchors.labels(result)
            self._prunes.labels(result)

    def __call__(self, observation: Observation) -> None:
        """Count what one record says."""
        match observation:
            case PageApplied():
                self._note_page(observation)
            case RequestMade():
                self._note_request(observation)
            case WalkReport():
                self._note_walk(observation)
            case RunReport():
                self._note_run(observation)
            case Waited():
                cause = _known_error(observation.cause)
                self._waits.labels(cause).inc()
                self._wait_seconds.labels(cause).inc(observation.seconds)

    def note_idle_turn(self, kind: RunKind) -> None:
        """Note that a turn found nothing due, which is a success without a run."""
        self._last_success.labels(kind).set(self._clock.now().timestamp())

    def note_job(self, job: str, trouble: Literal["missed", "failed"]) -> None:
        """Note that a job of the schedule was missed, or has failed."""
        (self._jobs_missed if trouble == "missed" else self._jobs_failed).labels(job).inc()

    def note_discovery_failure(self, source: str) -> None:
        """Note that a source of tasks (`tasks_file`, `discovery_command`) could not be read."""
        self._discoveries.labels(source).inc()

    def note_ping(self, *, succeeded: bool) -> None:
        """Note how a ping went."""
        self._pings.labels(_result(succeeded=succeeded)).inc()

    def note_archived(self, entries: int) -> None:
        """Note how many entries were added to the archive."""
        self._archived.inc(entries)

    def note_anchor(self, succeeded: bool) -> None:  # noqa: FBT001 - its only parameter
        """Note how the handing over of a checkpoint went; from any thread."""
        self._anchors.labels(_result(succeeded=succeeded)).inc()

    def note_pruned(self, payloads: int) -> None:
        """Note that a prune has ended, and how many payloads it has taken out."""
        self._prunes.labels(_result(succeeded=True)).inc()
        self._pruned.inc(payloads)

    def note_prune_failed(self) -> None:
        """Note that a prune has failed, or has found the archive not to be as it should be."""
        self._prunes.labels(_result(succeeded=False)).inc()

    def note_reload(self, *, succeeded: bool) -> None:
        """Note how a reload of the configuration went."""
        self._reloads.labels(_result(succeeded=succeeded)).inc()

    def _note_page(self, page: PageApplied) -> None:
        self._pages.labels(page.kind).inc()
        self._bytes.inc(page.size_bytes)
        self._commits.observe(page.commit_seconds)
        for result in ("new", "changed", "unchanged", "vanished", "quarantined"):
            if number := getattr(page, result):
                self._events.labels(result).inc(number)

    def _note_request(self, request: RequestMade) -> None:
        self._requests.labels(request.method, _known_status(request.status)).inc()
        self._request_times.labels(request.method).observe(request.seconds)

    def _note_walk(self, walk: WalkReport) -> None:
        self._walks.labels(_result_of(walk)).inc()
        if walk.error is not None:
            self._failures.labels(_known_error(walk.error_kind)).inc()

    def _note_run(self, report: RunReport) -> None:
        self._runs.labels(report.kind, report.status).inc()
        seconds = (report.ended_at - report.started_at).total_seconds()
        self._last_duration.labels(report.kind).set(seconds)
        if report.status == "succeeded":
            self._last_success.labels(report.kind).set(report.ended_at.timestamp())

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return everything as text and its content type, as `accept` (the header) asks for it.

        If the database does not answer, what was counted is there all the same.
        """
        try:
            gauges = await self._gauges.answer()
        except (MaiaSyncError, TimeoutError):
            gauges = None
        encode, content_type = choose_encoder(accept)
        return encode(_Everything(self._registry, gauges)), content_type


class _Everything(CollectorRegistry):
    """The counters and the gauges, without the moments at which each counter was made."""

    def __init__(self, counters: CollectorRegistry, gauges: Gauges | None) -> None:
        super().__init__()
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for metric in self._counters.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric
        yield _family("database_up", "Whether the database answers.", self._gauges is not None)
        if self._gauges is not None:
            yield from _families(self._gauges)


def _families(gauges: Gauges) -> Iterator[Metric]:
    yield _family("tasks", "Tasks by status.", gauges.tasks, "status")
    yield _family("tasks_due", "Tasks whose poll is due and that nobody walks.", gauges.due)
    yield _family(
        "reconciles_due", "Tasks whose reconcile is due and that nobody walks.", gauges.reconciles_due
    )
    yield _family("tasks_failing", "Tasks whose latest walk failed.", gauges.failing)
    yield _family("tasks_over_max_lag", "Active tasks with a lag over schedule.max_lag.", gauges.over_max_lag)
    yield _family(
        "largest_lag_seconds",
        "The longest time since an active task was last known complete.",
        gauges.largest_lag_seconds,
    )
    leases = {"this_worker": gauges.leases_of_this_worker, "other_workers": gauges.leases_of_others}
    yield _family("leases", "Leases that are held.", leases, "holder")
    yield _family("quarantine_rows", "Elements in quarantine, counted up to a million.", gauges.quarantined)
    if gauges.archive_waiting is not None:
        told = "Records that wait to be archived; a task that waits as a whole counts as one."
        yield _family("archive_waiting", told, gauges.archive_waiting)
    if gauges.archived_at is not None:
        yield _family(
            "archive_last_checkpoint_timestamp_seconds",
            "When the archive's newest checkpoint was made.",
            gauges.archived_at.timestamp(),
        )
    yield _family("database_size_bytes", "How large the database is.", gauges.database_bytes)


def _family(
    name: str, help_text: str, value: float | dict[str, int] | dict[TaskStatus, int], label: str = ""
) -> Metric:
    if not isinstance(value, dict):
        return GaugeMetricFamily(f"maia_sync_{name}", help_text, value=float(value))
    family = GaugeMetricFamily(f"maia_sync_{name}", help_text, labels=[label])
    for each, number in value.items():
        family.add_metric([each], number)
    return family


def _result(*, succeeded: bool) -> str:
    return "succeeded" if succeeded else "failed"


def _result_of(walk: WalkReport) -> str:
    if walk.error is not None:
        return "failed"
    if walk.lease_lost:
        return "lease_lost"
    if walk.kind is None:
        return "held"
    if walk.gave_way:
        return "gave_way"
    return "news" if walk.new or walk.changed or walk.vanished or walk.quarantined else "quiet"


def _known_error(kind: str | None) -> str:
    return kind if kind in _ERROR_KINDS else "other"


def _known_status(status: int | None) -> str:
    """Return the status, or its class (5xx) if HTTP has no such one: a server can invent hundreds."""
    if status is None:
        return "none"
    return str(status) if status in _KNOWN_STATUSES else f"{str(status)[0]}xx"
