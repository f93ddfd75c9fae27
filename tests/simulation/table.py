"""What is published of all this? A table of what was survived; README.md carries that of a full run."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import msgspec

from tests.simulation.story import FAULTS
from tests.simulation.trials import Total


class Provable(Protocol):
    """What real processes came to."""

    @property
    def is_well(self) -> bool:
        """Tell whether nothing was wrong."""
        ...

    def rows(self) -> list[tuple[str, str]]:
        """Return rows for the table."""
        ...


class Survived(msgspec.Struct, kw_only=True):
    """What a whole run came to."""

    total: Total
    seconds: float
    commit: str
    kills: list[Provable]
    """What the real processes came to: see kills.py and outages.py."""

    @property
    def is_well(self) -> bool:
        """Tell whether no promise was broken."""
        return not self.total.broken and all(each.is_well for each in self.kills)


def table_of(survived: Survived) -> str:
    """Return the table, in Markdown."""
    total = survived.total
    upstream = {kind: times for kind, times in total.faults.items() if kind in FAULTS}
    database = {kind: times for kind, times in total.faults.items() if kind not in FAULTS}
    rows = [
        ("seeds played", f"{total.seeds:,}"),
        ("promises broken", f"{len(total.broken):,}"),
        ("events lost", "0" if not total.broken else "see above"),
        ("events duplicated", "0" if not total.broken else "see above"),
        ("processes", f"{total.processes:,}"),
        ("requests answered", f"{total.requests:,}"),
        ("events compared", f"{total.compared:,}"),
        ("faults of the API", f"{sum(upstream.values()):,}"),
        *((f"- {kind.replace('_', ' ')}", f"{times:,}") for kind, times in sorted(upstream.items())),
        ("troubles of the database", f"{sum(database.values()):,}"),
        *((f"- {kind.replace('_', ' ')}", f"{times:,}") for kind, times in sorted(database.items())),
        ("crashes", f"{sum(total.crashes.values()):,}"),
        *((f"- {point}", f"{times:,}") for point, times in sorted(_points(total.crashes).items())),
        ("different crash points", f"{len(total.crashes):,}"),
        *(row for each in survived.kills for row in each.rows()),
        ("measured at commit", f"`{survived.commit}`"),
        ("stories took", f"{survived.seconds:.0f} s"),
    ]
    return "\n".join(
        ["| what | how many |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)]
    )


def _points(crashes: Counter[str]) -> Counter[str]:
    """Return how many died at each kind of point, whichever the statement was."""
    points: Counter[str] = Counter()
    for point, times in crashes.items():
        points[" ".join(point.split()[:2])] += times
    return points
