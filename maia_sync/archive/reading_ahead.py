"""How are many small files read quickly from far away? Several at a time, before they are asked for."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from maia_sync.archive.background import Background

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maia_sync.archive.place import Place

_THREADS: Final = 16
_AHEAD: Final = 32
"""Files that are read before they are asked for; the largest have a few hundred kB."""


class ReadingAhead:
    """Reads these files of a place in this order; any other is read when it is asked for."""

    def __init__(self, place: Place, paths: Iterable[str]) -> None:
        self._place = place
        self._coming = iter(paths)
        self._asked: dict[str, Future[bytes | None]] = {}
        self._background = Background(threads=_THREADS, most_weight=_AHEAD)
        self._ask()

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, as `Place.read` does."""
        answer = self._asked.pop(path, None)
        self._ask()
        return self._place.read(path) if answer is None else answer.result()

    def close(self) -> None:
        """Give up what has not been read yet."""
        for answer in self._asked.values():
            answer.cancel()
        self._asked.clear()
        self._coming = iter(())

    def _ask(self) -> None:
        for path in islice(self._coming, _AHEAD - len(self._asked)):
            answer: Future[bytes | None] = Future()
            self._asked[path] = answer
            self._background.do(partial(self._answer, path, answer))

    def _answer(self, path: str, answer: Future[bytes | None]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(self._place.read(path))
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            answer.set_exception(error)
