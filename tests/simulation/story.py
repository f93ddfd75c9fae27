"""What happens in one simulated life? A story that a seed decides, as data: it can be cut short, and kept.

Each part draws what it needs from numbers of its own, so that leaving one out changes no other.
"""

from __future__ import annotations

from random import Random
from typing import Literal

import msgspec

ChangeKind = Literal[
    "append", "insert", "front", "edit", "respell", "remove", "lose_early", "reorder", "twin", "repeat"
]
FaultKind = Literal[
    "status_429",
    "status_429_later",
    "status_429_date",
    "status_500",
    "status_502",
    "status_503",
    "status_504",
    "status_401",
    "status_403",
    "status_404",
    "status_400",
    "status_410",
    "status_418",
    "redirect",
    "unconnected",
    "reset",
    "read_timeout",
    "cut",
    "garbage",
    "html",
    "not_a_page",
    "empty_body",
    "bad_gzip",
    "zstd",
    "flood",
    "empty_page",
    "cycle",
    "expire_tokens",
    "revoke_access",
    "one_event",
]
StatementTrouble = Literal["busy", "full", "io_error", "connection_lost"]
CommitTrouble = Literal["lost_before_commit", "lost_after_commit", "full_at_commit"]
PointKind = Literal[
    "before fetch",
    "after fetch",
    "after decode",
    "before statement",
    "after statement",
    "before commit",
    "after commit",
]
Mode = Literal["sync", "full", "poll", "reconcile"]

FAULTS: tuple[FaultKind, ...] = FaultKind.__args__  # type: ignore[attr-defined]
POINTS: tuple[PointKind, ...] = PointKind.__args__  # type: ignore[attr-defined]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How the API of this life behaves, and how maia-sync is configured."""

    tasks: int = 1
    served: Literal["oldest-first", "newest-first"] = "oldest-first"
    order: Literal["auto", "told"] = "auto"
    """The configuration's: `told` is what is served."""
    page_size: int = 3
    concurrency: int = 1
    turn_pages: int = 2
    """So many pages, and the daemon's walk gives way."""
    tokens: Literal["place", "unique", "anchor"] = "place"
    """A token means a place in the log, the same one each time; one of many for it; or an element."""
    more: Literal["more", "nextCursor"] = "more"
    last: Literal["absent", "null", "empty", "own", "trailing"] = "absent"
    """How the last page says that it is the last; `trailing`: an empty page under its own token follows."""
    overlap: int = 0
    """So many elements are repeated on the next page."""
    ragged: bool = False
    """Pages are shorter than asked for, as it happens."""
    packed: bool = False
    """Answers are gzipped."""
    signs_in: bool = False
    odd: float = 0.0
    """How likely each part of an element is a strange one."""
    only_grows: bool = False
    """Logs are appended to, and nothing else: then a copy has to be complete after each poll."""


class Change(msgspec.Struct, frozen=True, kw_only=True, tag="change"):
    """The log of a task changes upstream."""

    seed: int
    kind: ChangeKind
    task: int = 0
    count: int = 1


class Pass(msgspec.Struct, frozen=True, kw_only=True, tag="pass"):
    """Time passes between two runs; `jump`: the wall clock alone is set, forwards or backwards."""

    seconds: float
    jump: bool = False


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The n-th request of a process goes wrong."""

    request: int
    kind: FaultKind
    seed: int = 0


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """The process dies at the n-th point of this kind."""

    point: PointKind
    nth: int


class DatabaseTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """The database refuses the n-th statement, or the n-th commit, of a process."""

    kind: StatementTrouble | CommitTrouble
    nth: int


class Midway(msgspec.Struct, frozen=True, kw_only=True):
    """When a process makes its n-th request, the world changes, or the clock jumps."""

    request: int
    deed: Change | Pass


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process: what it is to do, and all that befalls it."""

    seed: int
    mode: Mode = "sync"
    faults: tuple[Fault, ...] = ()
    troubles: tuple[DatabaseTrouble, ...] = ()
    midway: tuple[Midway, ...] = ()
    crash: Crash | None = None
    stop_at: int | None = None
    """It is told to end when it makes this request."""
    pause_at: int | None = None
    """It is stopped before its n-th step, until the other process has ended and its leases have run out."""


class Act(msgspec.Struct, frozen=True, kw_only=True, tag="act"):
    """A process lives; perhaps another beside it."""

    one: Process
    other: Process | None = None


Step = Change | Pass | Act


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """A life of the copy of a few tasks' logs, from the first sync to the last."""

    seed: int
    setting: Setting
    steps: tuple[Step, ...]


def make_story(seed: int) -> Story:
    """Return the story that this seed decides."""
    random = Random(seed)
    setting = _make_setting(random)
    steps: list[Step] = [_make_change(random, setting, "append", random.choice((1, 4, 9, 20)))]
    for _ in range(random.randint(4, 9)):
        steps += [_make_change(random, setting) for _ in range(random.choice((0, 1, 1, 2, 4)))]
        if random.random() < 0.5:
            steps.append(_make_pass(random))
        steps.append(_make_act(random, setting))
    return Story(seed=seed, setting=setting, steps=tuple(steps))


def _make_setting(random: Random) -> Setting:
    last = random.choice(("absent", "absent", "null", "empty", "own", "trailing"))
    return Setting(
        tasks=random.choice((1, 1, 1, 2, 3)),
        served=random.choice(("oldest-first", "newest-first")),
        order=random.choice(("auto", "auto", "told")),
        page_size=random.choice((1, 2, 3, 3, 5, 8)),
        concurrency=random.choice((1, 1, 2, 3)),
        turn_pages=random.choice((1, 2, 3)),
        tokens=random.choice(("place", "unique", "anchor")),
        more=random.choice(("more", "more", "nextCursor")),
        last=last,
        overlap=random.choice((0, 0, 0, 1, 2)) if last not in ("own", "trailing") else 0,
        ragged=random.random() < 0.2,
        packed=random.random() < 0.2,
        signs_in=random.random() < 0.2,
        odd=random.choice((0.0, 0.0, 0.1, 0.4)),
        only_grows=random.random() < 0.3,
    )


def _make_change(
    random: Random, setting: Setting, kind: ChangeKind | None = None, count: int | None = None
) -> Change:
    kinds: tuple[ChangeKind, ...] = (*("append",) * 8, "insert", "front", "edit", "edit", "respell", "remove")
    drawn = random.choice((*kinds, "lose_early", "reorder", "twin", "repeat"))
    return Change(
        seed=random.randrange(1 << 30),
        kind=kind or ("append" if setting.only_grows else drawn),
        task=random.randrange(setting.tasks),
        count=count or random.choice((1, 1, 2, 5, 9) if setting.only_grows else (1, 1, 2, 5)),
    )


def _make_pass(random: Random) -> Pass:
    if random.random() < 0.25:
        return Pass(seconds=random.choice((-7200.0, -3.0, 3.0, 7200.0)), jump=True)
    return Pass(seconds=random.choice((1.0, 20.0, 100.0, 4000.0, 700_000.0)))


def _make_act(random: Random, setting: Setting) -> Act:
    one = _make_process(random, setting)
    if random.random() < 0.7:
        return Act(one=one)
    other = _make_process(random, setting)
    if random.random() < 0.6:
        one = msgspec.structs.replace(one, pause_at=random.randint(1, 25), crash=None, mode="sync")
    return Act(one=one, other=other)


def _make_process(random: Random, setting: Setting) -> Process:
    crash = None
    if random.random() < 0.6:
        point = random.choice(POINTS)
        crash = Crash(point=point, nth=random.randint(1, 40 if "statement" in point else 7))
    faults, midway, troubles = [], [], []
    at = 0
    while random.random() < 0.85 and len(faults) < 12:
        at += random.choice((1, 1, 1, 2, 3))
        faults.append(Fault(request=at, kind=random.choice(FAULTS), seed=random.randrange(1 << 30)))
    while random.random() < 0.25:
        deed: Change | Pass = _make_change(random, setting) if random.random() < 0.8 else _make_pass(random)
        midway.append(Midway(request=random.randint(1, 6), deed=deed))
    while random.random() < 0.4:
        kind = random.choice(
            (
                "busy",
                "full",
                "io_error",
                "connection_lost",
                "lost_before_commit",
                "lost_after_commit",
                "full_at_commit",
            )
        )
        nth = random.randint(1, 6 if "commit" in kind else 40)
        troubles.append(DatabaseTrouble(kind=kind, nth=nth))  # type: ignore[arg-type]
    return Process(
        seed=random.randrange(1 << 30),
        mode=random.choice(("sync", "sync", "full", "poll", "poll", "reconcile")),
        faults=tuple(faults),
        troubles=tuple(troubles),
        midway=tuple(midway),
        crash=crash,
        stop_at=random.randint(1, 6) if random.random() < 0.05 else None,
    )
