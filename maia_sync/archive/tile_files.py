"""What do the log's files at a place hold? Tiles and bundles that are well-formed; not yet verified."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from maia_sync.archive.objects import ObjectPlace
from maia_sync.archive.reading_ahead import ReadingAhead
from maia_sync.archive.tiles import WIDTH, TilePath, decode_bundle, split_tile
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from maia_sync.archive.place import Place


class TileFiles:
    """Reads the files of a tree of this size; raises ArchiveDiffers, which names the file."""

    def __init__(self, place: Place, size: int) -> None:
        self.place = place
        self.size = size
        self._ahead: ReadingAhead | None = None

    @contextmanager
    def ahead(self, paths: Iterable[TilePath]) -> Iterator[None]:
        """Have these files read before they are asked for, in this order, if the place is far away."""
        if not isinstance(self.place, ObjectPlace) or self._ahead is not None:
            yield
            return
        self._ahead = ahead = ReadingAhead(self.place, map(str, paths))
        try:
            yield
        finally:
            self._ahead = None
            ahead.close()

    def path(self, level: int | None, number: int) -> TilePath:
        """Return where a tile or a bundle of this tree lies: in a partial file if it is the last one."""
        full, width = divmod(self.size // WIDTH ** (level or 0), WIDTH)
        return TilePath(level, number, width if number == full else None)

    def hashes(self, path: TilePath) -> list[bytes]:
        """Return a tile's hashes: just as many as its path says."""
        return self._read(path, split_tile)

    def entries(self, path: TilePath) -> list[bytes]:
        """Return a bundle's entries: just as many as its path says."""
        return self._read(path, decode_bundle)

    def differs(self, path: TilePath, what: str) -> ArchiveDiffers:
        """Return the error that tells what is wrong with a file."""
        return ArchiveDiffers(f"{self.place.name}: {path} {what}")

    def _read(self, path: TilePath, decode: Callable[[bytes], list[bytes]]) -> list[bytes]:
        content, wanted = (self._ahead or self.place).read(str(path)), path.width or WIDTH
        held = wanted
        if content is None and path.width is not None:
            # A partial file may be deleted once the full one is there, which begins as it did.
            content, held = self.place.read(str(TilePath(path.level, path.number))), WIDTH
        if content is None:
            raise self.differs(path, "is missing")
        try:
            decoded = decode(content)
        except ValueError as error:
            raise self.differs(path, f"is damaged: {error}") from error
        if len(decoded) != held:
            raise self.differs(path, f"is damaged: it holds {len(decoded)} instead of {held}")
        return decoded[:wanted]
