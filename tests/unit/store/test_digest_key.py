"""Does the digests' key appear whole or not at all, and is it said if it cannot be read?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maia_sync.errors import ConfigError, DigestKeyMissing
from maia_sync.store.digest_key import DigestKeyFile, make_digest_key, read_digest_key


def test_it_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = make_digest_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_digest_key(path).of(b"x" * 32) == key.of(b"x" * 32)
    held = path.read_bytes()
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        make_digest_key(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (held, [path])


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "key"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(ConfigError, match="cannot be written: No space left"):
            make_digest_key(path)
    assert list(tmp_path.iterdir()) == []
    make_digest_key(path)


def test_its_name_is_on_the_disk_and_links_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "no links")

    monkeypatch.setattr(os, "fsync", note)
    make_digest_key(tmp_path / "key")
    assert flushed[-1] == str(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    make_digest_key(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be written"):
        make_digest_key(tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"key", "other"}


def test_a_folder_that_may_not_be_searched_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DigestKeyFile(tmp_path / "key")
    assert file.load() is None
    keyed = make_digest_key(tmp_path / "other").of(b"x" * 32)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("open", "stat"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        file.load()
    with pytest.raises(DigestKeyMissing, match="Permission denied"):
        file.require(keyed)
