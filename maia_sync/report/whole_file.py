"""How is a file written so that whoever opens it finds all of it, or what was there before?"""

from __future__ import annotations

import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from maia_sync.errors import MaiaSyncError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_SHOWN: Final = 60
_KEPT_OF_NAME: Final = 40
"""A name may take 255 bytes, and what is put behind it counts."""


@contextmanager
def whole_file(path: str, *, told_by: str) -> Iterator[IO[bytes]]:
    """Yield what bytes are written to; it takes the place of the file once all of them are.

    `told_by` is the option or the key that names the file. Raises UsageError if it cannot be made, and
    MaiaSyncError if it cannot be written; nothing is left behind then, and what had the name still has it.
    """
    try:
        target = Path(path).resolve()
        is_replaced = target.is_file() or not target.exists()  # a pipe or a device cannot be
        beside = (
            target.with_name(f".{target.name[:_KEPT_OF_NAME]}.{secrets.token_hex(4)}.part")
            if is_replaced
            else target
        )
        file = beside.open("xb" if is_replaced else "wb")
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(_unwritable(path, told_by, error)) from error
    try:
        with file:
            yield file
        if is_replaced:
            _replace(target, beside)
    except OSError as error:
        raise MaiaSyncError(_unwritable(path, told_by, error)) from error
    finally:
        if is_replaced:
            beside.unlink(missing_ok=True)


def _replace(target: Path, by: Path) -> None:
    if target.exists():
        shutil.copymode(target, by)
    by.replace(target)


def _unwritable(path: str, told_by: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or type(error).__name__
    shown = path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}..."
    return f'{told_by}: cannot write "{shown}": {reason}'
