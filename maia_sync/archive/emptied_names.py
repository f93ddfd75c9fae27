"""Of which payloads is the database to be emptied? Their names and keyed digests, spooled between two steps.

The file has no name, and never holds a payload: whatever happens, nothing of it is left.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.redaction import Emptied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_AT_ONCE: Final = 1_000
_LENGTH: Final = 4
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Emptied)


class EmptiedNames:
    """Takes them, then yields them; a context manager."""

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def take(self, emptied: Emptied) -> None:
        """Keep these."""
        longest = max(len(emptied.events), len(emptied.quarantined), len(emptied.sent))
        for at in range(0, longest, _AT_ONCE):
            some = slice(at, at + _AT_ONCE)
            encoded = _encoder.encode((emptied.events[some], emptied.quarantined[some], emptied.sent[some]))
            self._file.write(len(encoded).to_bytes(_LENGTH, "big"))
            self._file.write(encoded)

    def __iter__(self) -> Iterator[Emptied]:
        """Yield all that were taken, some at a time."""
        self._file.seek(0)
        while length := self._file.read(_LENGTH):
            yield _decoder.decode(self._file.read(int.from_bytes(length, "big")))
