from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from maia_sync.archive.anchor import anchor_of
from maia_sync.errors import ArchiveError, MaiaSyncError
from maia_sync.settings import ArchiveSettings, Secret

if TYPE_CHECKING:
    from maia_sync.archive.creating import Anchor

NOTE = "example.com/log\n17\nAAAA\n\n— example.com/log c2ln\n"


def command(*words: str, **more: Any) -> Anchor:
    anchor = anchor_of(ArchiveSettings(url="x", anchor_command=words), **more)
    assert anchor is not None
    return anchor


def python(program: str, **more: Any) -> Anchor:
    return command(sys.executable, "-S", "-c", program, **more)


def test_without_a_keeper_nothing_is_anchored() -> None:
    assert anchor_of(ArchiveSettings(url="x")) is None


def test_a_command_is_given_the_checkpoint_and_told_its_size(tmp_path: Path) -> None:
    file = tmp_path / "told"
    told = 'f\'{os.environ["MAIA_SYNC_CHECKPOINT_ORIGIN"]} {os.environ["MAIA_SYNC_CHECKPOINT_SIZE"]}\''
    python(f"import os, sys; open({str(file)!r}, 'w').write({told} + sys.stdin.read()); print('x' * 10**6)")(
        NOTE, 17
    )
    assert file.read_text() == f"example.com/log 17{NOTE}"
    assert "MAIA_SYNC_CHECKPOINT_SIZE" not in os.environ


def test_a_command_need_not_read_what_it_is_given() -> None:
    command("true")(NOTE * 100_000, 17)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("false",), "ended with exit code 1"),
        (("/no/such/program",), "cannot be started: No such file or directory"),
        (("/etc",), "cannot be started: Permission denied"),
        (("a\0b",), "cannot be started: ValueError"),
        ((sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"), "was ended by signal 9"),
    ],
)
def test_a_command_that_fails_is_told(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        command(*words)(NOTE, 17)
    assert str(caught.value) == f"archive.anchor_command {sentence}"


SLEEPS = "import os, time; os.fork(); open({file!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(300)"


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with pytest.raises(ArchiveError, match=r"did not end within 0\.5 seconds"):
        python(SLEEPS.format(file=str(file)), seconds=0.5)(NOTE, 17)
    assert_gone(file)


def test_a_command_that_nobody_waits_for_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    def stopped() -> int | None:
        return 15 if file.exists() and file.read_text().count("\n") == 2 else None

    with pytest.raises(ArchiveError, match="was given up"):
        python(SLEEPS.format(file=str(file)), stopped=stopped)(NOTE, 17)
    assert_gone(file)


def assert_gone(file: Path) -> None:
    pids = [int(line) for line in file.read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_both_keepers_are_tried_though_one_fails() -> None:
    posted: list[str] = []

    def post(checkpoint: str) -> None:
        posted.append(checkpoint)
        raise MaiaSyncError("the server of archive.anchor_url answered 500")

    settings = ArchiveSettings(
        url="x", anchor_command=("false", "c4nary"), anchor_url=Secret("https://w/c4nary")
    )
    anchor = anchor_of(settings, post=post)
    assert anchor is not None
    with pytest.raises(ArchiveError) as caught:
        anchor(NOTE, 17)
    assert posted == [NOTE]
    assert str(caught.value) == (
        "archive.anchor_command ended with exit code 1; the server of archive.anchor_url answered 500"
    )
