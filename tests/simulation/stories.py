"""Which stories have once broken a promise? One file each; every run of the tests plays them again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.simulation.story import Act, Story

if TYPE_CHECKING:
    from tests.simulation.story import Process

FOLDER = Path(__file__).with_name("stories")


def read_stories() -> dict[str, Story]:
    """Return every kept story by the name of its file."""
    return {
        path.stem: msgspec.json.decode(path.read_bytes(), type=Story)
        for path in sorted(FOLDER.glob("*.json"))
    }


def keep(story: Story) -> Path:
    """Write a story to a file of its own; returns which."""
    raw = msgspec.json.format(msgspec.json.encode(story), indent=1) + b"\n"
    path = FOLDER / f"seed_{story.seed}_{hashlib.sha256(raw).hexdigest()[:6]}.json"
    FOLDER.mkdir(exist_ok=True)
    path.write_bytes(raw)
    return path


def lines_of(story: Story) -> str:
    """Return a story as lines to be read."""
    lines = [f"seed {story.seed}; {_said(story.setting)}"]
    for number, step in enumerate(story.steps, start=1):
        if isinstance(step, Act):
            lines.append(f"{number:4}. process: {_process(step.one)}")
            if step.other is not None:
                lines.append(f"      beside it: {_process(step.other)}")
        else:
            lines.append(f"{number:4}. {type(step).__name__.lower()}: {_said(step)}")
    return "\n".join(lines)


def _process(process: Process) -> str:
    said = [process.mode]
    said += [f"request {fault.request}: {fault.kind}" for fault in process.faults]
    said += [f"{trouble.kind} at {trouble.nth}" for trouble in process.troubles]
    said += [f"at request {midway.request}: {_said(midway.deed)}" for midway in process.midway]
    if process.crash is not None:
        said.append(f"dies {process.crash.point} {process.crash.nth}")
    if process.stop_at is not None:
        said.append(f"is told to end at request {process.stop_at}")
    if process.pause_at is not None:
        said.append(f"sleeps at step {process.pause_at}")
    return ", ".join(said)


def _said(part: msgspec.Struct) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in msgspec.structs.asdict(part).items() if name != "seed"
    )
