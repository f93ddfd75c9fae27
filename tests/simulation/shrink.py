"""Which part of a story breaks the promise? What can be left out is, as long as it still breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.story import Act, Midway, Process, Setting, Story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PLAIN = Setting()


def shrink(story: Story, breaks: Callable[[Story], bool], *, most: int = 600) -> Story:
    """Return a shorter story that breaks too, after at most so many trials."""
    trials = 0
    while trials < most:
        for shorter in _shorter(story):
            trials += 1
            if breaks(shorter):
                story = shorter
                break
            if trials >= most:
                return story
        else:
            return story
    return story


def _shorter(story: Story) -> Iterator[Story]:
    """Yield stories that are a little simpler, those that leave out most first."""
    steps = story.steps
    size = len(steps) // 2
    while size:
        for start in range(0, len(steps), size):
            yield msgspec.structs.replace(story, steps=steps[:start] + steps[start + size :])
        size //= 2
    for at, step in enumerate(steps):
        for simpler in _simpler_step(step):
            yield msgspec.structs.replace(story, steps=(*steps[:at], simpler, *steps[at + 1 :]))
    for name in Setting.__struct_fields__:
        plain = getattr(_PLAIN, name)
        if getattr(story.setting, name) != plain:
            yield msgspec.structs.replace(
                story, setting=msgspec.structs.replace(story.setting, **{name: plain})
            )


def _simpler_step(step: Any) -> Iterator[Any]:
    if not isinstance(step, Act):
        if getattr(step, "count", 1) > 1:
            yield msgspec.structs.replace(step, count=1)
        return
    if step.other is not None:
        yield Act(one=step.one)
        yield Act(one=step.other)
        for simpler in _simpler_process(step.other):
            yield Act(one=step.one, other=simpler)
    for simpler in _simpler_process(step.one):
        yield Act(one=simpler, other=step.other)


def _simpler_process(process: Process) -> Iterator[Process]:
    for name in ("crash", "stop_at", "pause_at"):
        if getattr(process, name) is not None:
            yield msgspec.structs.replace(process, **{name: None})
    for name in ("faults", "troubles", "midway"):
        parts = getattr(process, name)
        for at in range(len(parts)):
            yield msgspec.structs.replace(process, **{name: parts[:at] + parts[at + 1 :]})
    for at, midway in enumerate(process.midway):
        if getattr(midway.deed, "count", 1) > 1:
            simpler = Midway(request=midway.request, deed=msgspec.structs.replace(midway.deed, count=1))
            yield msgspec.structs.replace(
                process, midway=(*process.midway[:at], simpler, *process.midway[at + 1 :])
            )
    if process.mode != "sync":
        yield msgspec.structs.replace(process, mode="sync")
