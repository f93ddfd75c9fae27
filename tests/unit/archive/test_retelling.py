"""Which entries of a row may follow one another, and which may not?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from maia_sync.archive.entry import Entry, decode_entry, encode_entry, entry_of
from maia_sync.archive.finding import Findings
from maia_sync.archive.numbers import Figures
from maia_sync.archive.retelling import Retelling, lasting_difference
from maia_sync.store.archived import (
    ErasureFacts,
    HoldFacts,
    QuarantineFacts,
    Record,
    RunFacts,
    SentFacts,
)

AT = datetime(2026, 1, 5, 8, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
COUNTS = dict.fromkeys(
    [
        *(
            "tasks",
            "tasks_failed",
            "tasks_held",
            "requests",
            "pages",
            "bytes",
            "events_new",
            "events_changed",
        ),
        *("events_unchanged", "events_vanished", "quarantined"),
    ],
    1,
)


def run(number: int = 1, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        **COUNTS, "kind": "poll", "worker": "w", "started_at": AT, "ended_at": AT, "status": "succeeded",
        "error": None, "upstream_host": "api.example", "version": "1",
    }  # fmt: skip
    facts = RunFacts(**{**values, **changes})
    return told(Record(type="run", received_at=facts.ended_at or AT, number=number, facts=facts))


def sent(outcome: str, error: str | None = None, *, by: str = "me", at: datetime = AT) -> Entry:
    completed_at = None if outcome == "unknown" else LATER
    facts = SentFacts(sent_by=by, outcome=outcome, completed_at=completed_at, error=error)
    return told(Record(type="sent", received_at=at, task_id="t", number=1, data="{}", facts=facts))


def quarantined(reason: str) -> Entry:
    facts = QuarantineFacts(reason=reason)
    return told(Record(type="quarantine", received_at=AT, task_id="t", number=1, raw=b"x", facts=facts))


def held(*, reason: str = "a case", by: str = "counsel", released: str | None = None) -> Entry:
    released_at = None if released is None else LATER
    facts = HoldFacts(
        reason=reason, held_by=by, released_at=released_at, released_by=released, release_reason=released
    )
    return told(Record(type="hold", received_at=AT, task_id="t", number=1, facts=facts))


def erased(**changes: Any) -> Entry:
    values = {"before": None, "reason": "asked", "basis": "law", "erased_by": "me", "payloads": 7}
    facts = ErasureFacts(**{**values, **changes})
    return told(Record(type="erasure", received_at=AT, task_id="t", number=1, facts=facts))


def missing(of: Entry) -> Entry:
    """Return an entry of a row whose payload was pruned."""
    return msgspec.structs.replace(of, type="missing", payload=None)


def told(record: Record) -> Entry:
    payload = "0" * 64 if record.type in ("sent", "quarantine") else None
    return decode_entry(encode_entry(entry_of(record, payload)))


LOST = {"status": "lost", **dict.fromkeys(COUNTS, 0)}
FINE = (
    (run(**LOST), run()),
    (run(**LOST), run(ended_at=LATER, status="failed", error="no")),
    (run(**LOST), run(**LOST)),
    (run(), run()),
    (run(1), run(2, worker="another")),
    (sent("unknown"), sent("accepted")),
    (sent("unknown"), sent("refused", "no")),
    (sent("unknown"), sent("unknown", "nobody knows")),
    (sent("unknown"), missing(sent("accepted"))),
    (missing(sent("unknown")), missing(sent("accepted"))),
    (held(), held(released="counsel")),
)
WRONG = (
    (run(), run(pages=0), "pages"),
    (run(), run(ended_at=LATER), "ended_at"),
    (run(), run(**LOST), "status"),
    (run(**LOST), run(**LOST, error="x"), "error"),
    (run(**LOST), run(worker="another"), "worker"),
    (run(**LOST), run(kind="sync"), "kind"),
    (run(**LOST), run(started_at=LATER), "started_at"),
    (run(**LOST), run(upstream_host="evil.example"), "upstream_host"),
    (run(**LOST), run(credential="client_id evil"), "credential"),
    (run(**LOST), run(version="2"), "version"),
    (sent("unknown"), sent("accepted", by="another"), "sent_by"),
    (sent("unknown"), sent("accepted", at=LATER), "sent_at"),
    (sent("accepted"), sent("refused"), "outcome"),
    (sent("refused", "no"), sent("refused", "never"), "error"),
    (sent("unknown", "nobody knows"), sent("accepted"), "outcome"),
    (quarantined("no object"), quarantined("no text"), "reason"),
    (missing(quarantined("no object")), missing(quarantined("no text")), "reason"),
    (missing(sent("accepted")), missing(sent("refused")), "outcome"),
    (held(), held(reason="another"), "reason"),
    (held(), held(by="me", released="counsel"), "held_by"),
    (held(released="counsel"), held(), "released_at"),
    (held(released="counsel"), held(released="me"), "released_by"),
    (erased(), erased(basis="none"), "basis"),
    (erased(), erased(payloads=6), "payloads"),
)


def reported(*entries: Entry) -> list[str]:
    findings = Findings()
    retelling = Retelling(findings)
    for index, entry in enumerate(entries, 7):
        retelling.take(index, entry)
    return [finding.place for finding in findings.kept]


@pytest.mark.parametrize(("one", "other"), FINE)
def test_what_may_become_of_a_row_is_not_reported(one: Entry, other: Entry) -> None:
    assert reported(one, other) == []
    assert lasting_difference(one, other) is None or one.id != other.id


@pytest.mark.parametrize(("one", "other", "column"), WRONG)
def test_what_cannot_become_of_a_row_is_reported(one: Entry, other: Entry, column: str) -> None:
    assert reported(one, other) == ["entry 8"]
    assert lasting_difference(one, other) == column


def test_each_entry_is_compared_with_the_one_before_it() -> None:
    assert reported(run(**LOST), run(), run(pages=9)) == ["entry 9"]
    assert reported(sent("unknown"), sent("unknown", "nobody knows"), sent("accepted")) == ["entry 9"]
    assert reported(quarantined("no text"), quarantined("no text")) == ["entry 8"]
    assert reported(quarantined("no text"), missing(quarantined("no text"))) == ["entry 8"]
    assert reported(erased(), erased()) == ["entry 8"]
    facts = entry_of(Record(type="run", received_at=AT, number=1, facts=QuarantineFacts(reason="x")), None)
    assert reported(facts) == ["entry 7"]


def test_figures_are_kept_for_any_number_in_little_memory() -> None:
    figures = Figures(3)
    kept = {-1: (1, 2, 3), 0: (4, 5, 6), 17: (-7, 2**63 - 1, -(2**63)), 2**64: (9, 0, 0)}
    for number, values in kept.items():
        assert figures.get(number) is None
        figures.put(number, *values)
    figures.put(17, 8, 8, 8)
    assert {number: tuple(figures.get(number) or ()) for number in kept} == {**kept, 17: (8, 8, 8)}
    assert figures.get(16) is figures.get(1) is None
