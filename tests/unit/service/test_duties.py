"""Is it told what becomes of archiving and pruning, and does a prune that fails spoil nothing else?"""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from maia_sync.archive.creating import CreateReport
from maia_sync.archive.finding import Finding
from maia_sync.archive.pruning import PruneReport
from maia_sync.clock import ManualClock
from maia_sync.errors import ConfigError
from maia_sync.service.duties import Duties
from maia_sync.service.logs import set_up_logging
from maia_sync.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def created(**changed: Any) -> CreateReport:
    none = dict.fromkeys(
        ("size_before", "size_after", "checkpoints", "segments", "segment_bytes", "enrolled"), 0
    )
    absent = dict.fromkeys(("checkpoint", "replaced", "anchor_error", "unscrubbed", "interrupted_by"))
    others = {
        "entries": {},
        "was_cut_off": False,
        "older_runs": (),
        "anchor": "none configured",
        "seconds": 0.1,
    }
    values = {"place": "archive", "origin": "log", **none, **absent, **others, **changed}
    return CreateReport(**{name: values[name] for name in CreateReport.__struct_fields__ if name in values})


def pruned(**changed: Any) -> PruneReport:
    none = dict.fromkeys(("size", "payloads", "bytes", "held", "finding_count"), 0)
    others = {"place": "archive", "origin": "log", "older_than": NOW, "dry_run": False, "months": ()}
    rest = {"findings": (), "unscrubbed": None, "interrupted_by": None, "seconds": 0.2}
    return PruneReport(**{**none, **others, **rest, **changed})


class Archive:
    """Stands in for the schedule's archive."""

    def __init__(self, report: CreateReport | None, prune: Any) -> None:
        self.report = report
        self.prune = prune
        self.prunes = 0

    async def archive_if_due(self, _: Any) -> CreateReport | None:
        return self.report

    async def prune_if_due(self) -> PruneReport | None:
        self.prunes += 1
        if isinstance(self.prune, Exception):
            raise self.prune
        return self.prune  # type: ignore[no-any-return]


class Told:
    """Metrics that remember what they were told; whatever else is told counts for nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self.calls.append((name, *given, *named.values()))


def do(archive: Archive) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Do the archive's job once; return the log's lines and what the metrics were told."""
    stream, metrics, other = io.StringIO(), Told(), Told()
    clock = ManualClock(NOW)

    async def unless_stopped(work: Awaitable[object]) -> object:
        return await work

    duties = Duties(
        turns=other,  # type: ignore[arg-type]
        discovery=other,  # type: ignore[arg-type]
        log=set_up_logging(LogSettings(format="json", level="info"), stream=stream, clock=clock),
        metrics=metrics,  # type: ignore[arg-type]
        health=other,  # type: ignore[arg-type]
        notifier=other,  # type: ignore[arg-type]
        pinger=None,
        unless_stopped=unless_stopped,
        clock=clock,
        archive=archive,  # type: ignore[arg-type]
    )
    asyncio.run(duties.archive())
    return [json.loads(line) for line in stream.getvalue().splitlines()], metrics.calls


def test_after_each_create_what_has_come_of_age_is_pruned() -> None:
    lines, calls = do(Archive(created(), pruned(payloads=1200, bytes=9, held=3)))
    (line,) = lines
    assert (line["event"], line["payloads"], line["bytes"], line["left"]) == ("pruned", 1200, 9, 3)
    told = "Pruned 1,200 payloads from before 2026-11-26 12:00:00 UTC, and left 3 on legal hold"
    assert line["message"] == told
    assert calls == [("note_archived", 0), ("note_pruned", 1200)]


def test_a_prune_that_is_not_due_or_was_interrupted_is_not_told() -> None:
    assert do(Archive(created(), None)) == ([], [("note_archived", 0)])
    assert do(Archive(created(), pruned(interrupted_by=15)))[0] == []
    for report in (None, created(interrupted_by=15)):
        archive = Archive(report, pruned())
        assert do(archive)[0] == []
        assert archive.prunes == 0


def test_a_prune_that_fails_is_told_and_the_archive_is_not_said_to_have_failed() -> None:
    finding = Finding(kind="file", place="tile/0/000", sentence="is damaged")
    nothing = "Nothing was pruned: the archive is not as it should be: tile/0/000 is damaged, and 2 more"
    for failed, told in (
        (ConfigError(["archive.digest_key_file: x"]), "archive.digest_key_file: x"),
        (
            pruned(findings=(finding,), finding_count=3),
            f"{nothing} (`maia-sync archive verify` tells all)",
        ),
    ):
        (line,), calls = do(Archive(created(), failed))
        assert (line["level"], line["event"], line["message"]) == ("error", "prune_failed", told)
        assert calls == [("note_archived", 0), ("note_prune_failed",)]


def test_that_free_pages_hold_what_was_erased_is_told() -> None:
    lines, _ = do(Archive(created(), pruned(unscrubbed="readers are there")))
    assert [line["event"] for line in lines] == ["erasure_unfinished", "pruned"]
