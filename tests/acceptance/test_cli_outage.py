"""What does the command do when upstream goes down in mid-run, or never lets it sign in?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cli_folder import CliFolder, for_sandbox, tracked_copy
from logs import events, task_id, world_of_many
from oracle import Copy, assert_to_the_letter

from maia_sync.sandbox.faults import OAUTH, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.sandbox.server import SandboxServer
    from maia_sync.sandbox.world import World

SECRET = "client-s3cret-91d4"


def signing_in(path: Path, server: SandboxServer, authority: Path) -> CliFolder:
    folder = for_sandbox(path, server.url, authority)
    del folder.variables["MAIA_SYNC_AUTH__TOKEN"]
    folder.variables |= {
        "MAIA_SYNC_AUTH__CLIENT_ID": "me",
        "MAIA_SYNC_AUTH__CLIENT_SECRET": SECRET,
        "MAIA_SYNC_AUTH__TOKEN_URL": f"{server.url}/oauth/dpc/token",
        "MAIA_SYNC_API__RETRIES": "2",
        "MAIA_SYNC_API__BACKOFF": "0.01",
        "MAIA_SYNC_API__PAGE_SIZE": "10",
        "MAIA_SYNC_LOG__LEVEL": "debug",
    }
    return folder


def test_an_outage_in_mid_run_ends_with_exit_6_and_the_next_run_completes(
    serve: Callable[[World], SandboxServer], migrated_sqlite: Path, one_authority: Path, tmp_path: Path
) -> None:
    world = world_of_many(200, 20)
    folder = signing_in(tmp_path, serve(world), one_authority)
    copy = Copy(f"sqlite:///{tracked_copy(migrated_sqlite, tmp_path, world.logs)}")
    world.faults.add(Fault(kind="status", status=502, count=None, after=40))
    done = folder.run_apart("sync")
    print(done.err[-500:])
    assert done.code == 6
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.err
    assert SECRET not in done.err
    assert "sandbox-access-" not in done.err
    assert world.tally.requests <= 40 + 100
    assert 0 < copy.one("SELECT count(*) FROM task_event") < 200 * 20
    world.faults.clear()
    assert folder.run("sync").code == 0
    for task in (task_id(1), task_id(100), task_id(200)):
        assert_to_the_letter(copy, task, events(20))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "status", "status": 401}, 4),
        ({"kind": "status", "status": 400}, 4),
        ({"kind": "status", "status": 502}, 6),
        ({"kind": "reset"}, 6),
    ],
)
def test_a_sign_in_that_never_succeeds_is_one_clear_sentence(
    serve: Callable[[World], SandboxServer],
    migrated_sqlite: Path,
    one_authority: Path,
    tmp_path: Path,
    fault: dict[str, Any],
    code: int,
) -> None:
    world = world_of_many(5, 5)
    folder = signing_in(tmp_path, serve(world), one_authority)
    tracked_copy(migrated_sqlite, tmp_path, world.logs)
    world.faults.add(Fault(**fault, count=None, detail=f"quoted: {SECRET}"), task_id=OAUTH)
    done = folder.run("sync")
    print(done.err[-500:])
    assert done.code == code
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.err
    assert SECRET not in done.err
    assert world.tally.requests == 0


def test_access_tokens_that_are_refused_twice_end_the_run_with_exit_4_and_one_sentence(
    serve: Callable[[World], SandboxServer], migrated_sqlite: Path, one_authority: Path, tmp_path: Path
) -> None:
    world = world_of_many(5, 5)
    folder = signing_in(tmp_path, serve(world), one_authority)
    tracked_copy(migrated_sqlite, tmp_path, world.logs)
    world.faults.add(Fault(kind="status", status=401, count=None))
    done = folder.run("sync")
    assert done.code == 4
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert world.tally.oauth_requests <= 2 + 5
    assert world.tally.requests <= 2 * 5
