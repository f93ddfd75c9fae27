"""Is it told what to do where the configuration names a key that is not there?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from maia_sync.archive.configured import configured_signer
from maia_sync.errors import ConfigError
from maia_sync.settings import ArchiveSettings

if TYPE_CHECKING:
    from pathlib import Path

KEYGEN = "`maia-sync archive keygen` makes one"


def test_a_key_that_is_not_there_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^archive\.key_file: .*no\.key: cannot be read: .*; {KEYGEN}$"):
        configured_signer(ArchiveSettings(url="there", key_file=tmp_path / "no.key"))


def test_a_key_that_is_there_and_is_none_is_not_to_be_made_anew(tmp_path: Path) -> None:
    (tmp_path / "it.key").write_text("no key")
    with pytest.raises(ConfigError) as told:
        configured_signer(ArchiveSettings(url="there", key_file=tmp_path / "it.key"))
    assert KEYGEN not in str(told.value)
