"""`send`, as people and scripts meet it: what is refused, what is told, which exit code, and what follows."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest
from cli_folder import SECRET, CliFolder, Done, for_sandbox, tracked_copy
from logs import TASK, events, task_id, world_of
from oracle import Copy

from maia_sync.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.sandbox.server import SandboxServer
    from maia_sync.sandbox.world import World

WORDS = "the words of the message"


class Scene:
    """A served world of one log, and a folder in which its task is tracked."""

    def __init__(self, folder: CliFolder, server: SandboxServer) -> None:
        self.folder = folder
        self.server = server
        self.world = server.world
        self.copy = Copy(f"sqlite:///{folder.path / 'maia_sync.db'}")

    def send(self, *arguments: str, stdin: bytes = b"", **variables: str) -> Done:
        return self.folder.run("send", *arguments, stdin=stdin, **variables)

    @property
    def posts(self) -> int:
        return self.world.tally.by_method["POST"]

    @property
    def outcomes(self) -> list[str]:
        return [outcome for (outcome,) in self.copy.ask("SELECT outcome FROM sent_message ORDER BY id")]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Path:
    return tracked_copy(migrated_sqlite, tmp_path_factory.mktemp("tracked"), [TASK])


@pytest.fixture
def scene(
    tmp_path: Path, one_authority: Path, tracked: Path, serve: Callable[[World], SandboxServer]
) -> Scene:
    server = serve(world_of(events(5)))
    folder = for_sandbox(tmp_path, server.url, one_authority)
    folder.variables |= {"MAIA_SYNC_API__TIMEOUT": "1", "MAIA_SYNC_API__BACKOFF": "0.01"}
    shutil.copy(tracked, folder.path)
    return Scene(folder, server)


@pytest.mark.parametrize(
    "arguments",
    [
        (TASK,),
        (TASK, ""),
        (TASK, " \t\n"),
        (TASK, WORDS, "--message-file", "letter"),
        (TASK, "--message-file", "nowhere"),
        (TASK, "--message-file", "."),
        (TASK, "--message-file", "latin"),
        (TASK, "--message-file", "empty"),
        (TASK, "--message-file", "-"),
        ("no-uuid", WORDS),
        (TASK, WORDS, "--mode", "dance", "--agent", "Ada"),
        (TASK, WORDS, "--mode", "PLAN"),
        (TASK, WORDS, "--branch", "main"),
        (TASK, WORDS, "--agent", ""),
        (TASK, WORDS, "--agent", "Ada", "--branch", ""),
        (TASK, WORDS, "--allow-tool", ""),
        (TASK, os.fsdecode(b"half \xff")),
        (TASK, WORDS, "--agent", os.fsdecode(b"\xff")),
        (TASK, WORDS, "--follow", "--quiet", "a while"),
        (TASK, WORDS, "--follow", "--json"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence_and_nothing_is_sent_or_noted(
    scene: Scene, arguments: tuple[str, ...]
) -> None:
    (scene.folder.path / "letter").write_text(WORDS)
    (scene.folder.path / "latin").write_bytes("Grüße".encode("latin-1"))
    (scene.folder.path / "empty").touch()
    done = scene.send(*arguments)
    assert done.code == 2, done
    assert done.is_one_clear_sentence(), done
    assert WORDS not in done.err
    assert (scene.world.tally.requests, scene.outcomes) == (0, [])


@pytest.mark.parametrize("source", ["letter", "-"])
def test_a_letter_is_sent_as_it_is_to_the_last_newline(scene: Scene, source: str) -> None:
    letter = "Grüße,\r\n\n\t\N{WASTEBASKET}\\ \x00 and a last line\n".encode()
    (scene.folder.path / "letter").write_bytes(letter)
    done = scene.send(TASK, "--message-file", source, stdin=letter)
    assert done.code == 0, done
    assert [sent.message for sent in scene.world.sent] == [letter.decode()]


def test_an_accepted_message_is_told_in_short_and_every_option_arrives(scene: Scene) -> None:
    options = (
        "--agent",
        "Ada",
        "--mode",
        "plan",
        "--branch",
        "main",
        "--allow-tool",
        "a",
        "--allow-tool",
        "b",
    )
    done = scene.folder.run_apart("send", TASK, WORDS, *options)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Accepted: message 1 to task {TASK}\n7 new events stored\n"
    (sent,) = scene.world.sent
    assert sent.agent_config == {"name": "Ada", "mode": "PLAN", "targetBranchName": "main"}
    assert sent.granted_permissions == [{"toolName": "a"}, {"toolName": "b"}]


def test_a_task_that_was_not_tracked_is_from_then_on(scene: Scene) -> None:
    scene.folder.ok("untrack", TASK)
    assert "; the task is tracked from now on\n" in scene.send(TASK, WORDS).out
    assert [task["status"] for task in scene.folder.ok("tasks", "--json").json()] == ["active"]


def test_json_is_one_document_about_message_and_poll(scene: Scene) -> None:
    told = scene.send(TASK, WORDS, "--json").json()
    assert (told["id"], told["task_id"], told["outcome"], told["error"]) == (1, TASK, "accepted", None)
    assert told["completed_at"] >= told["sent_at"]
    assert (told["newly_tracked"], told["poll"]["new"], told["poll_error"]) == (False, 7, None)
    scene.world.faults.add(Fault(kind="status", status=502, method="POST"))
    done = scene.send(TASK, WORDS, "--json")
    assert (done.code, done.err) == (1, "")
    told = done.json()
    assert (told["outcome"], told["completed_at"], told["poll"]) == ("unknown", None, None)
    assert WORDS not in done.out


@pytest.mark.parametrize("kind", ["status", "stall", "reset"])
def test_an_unknown_outcome_says_how_to_find_out_and_not_to_send_again(scene: Scene, kind: str) -> None:
    scene.world.faults.add(Fault(kind=kind, status=502, count=None, method="POST", detail=WORDS))  # type: ignore[arg-type]
    done = scene.send(TASK, WORDS)
    assert (done.code, done.out, scene.posts, scene.outcomes) == (1, "", 1, ["unknown"])
    told = " ".join(done.err.split())
    for hint in (f"`maia-sync sync --task {TASK}`", f"`maia-sync events {TASK} --limit 20`", "row 1 of"):
        assert hint in told
    assert "do not just send it again" in told
    assert SECRET not in told


def test_what_a_message_says_is_in_no_error(scene: Scene) -> None:
    for fault in (Fault(kind="status", status=400), Fault(kind="reset"), Fault(kind="garbage", status=200)):
        scene.world.faults.add(fault)
        done = scene.send(TASK, WORDS)
        assert WORDS not in done.out + done.err
    errors = scene.copy.ask("SELECT error FROM sent_message")
    assert len(errors) == 3
    assert not any(WORDS in (error or "") for (error,) in errors)


@pytest.mark.parametrize("status", [400, 403, 409])
def test_a_refusal_is_exit_code_1_and_one_sentence(scene: Scene, status: int) -> None:
    scene.world.faults.add(Fault(kind="status", status=status, method="POST"))
    done = scene.send(TASK, WORDS)
    assert (done.code, scene.posts, scene.outcomes) == (1, 1, ["refused"])
    assert done.is_one_clear_sentence(), done


def test_a_task_that_upstream_does_not_know_is_refused_and_not_tracked(scene: Scene) -> None:
    assert scene.send(task_id(404), WORDS).code == 1
    assert len(scene.folder.ok("tasks", "--json").json()) == 1


def test_refused_credentials_are_exit_code_4(scene: Scene) -> None:
    scene.world.bearers.fixed = {"another"}
    done = scene.send(TASK, WORDS)
    assert (done.code, scene.outcomes) == (4, ["refused"])
    assert done.is_one_clear_sentence(), done


def test_a_credential_that_cannot_be_had_is_refused_before_the_message_leaves(scene: Scene) -> None:
    done = scene.send(TASK, WORDS, MAIA_SYNC_AUTH__TOKEN="", MAIA_SYNC_AUTH__TOKEN_FILE="nowhere")
    assert (done.code, scene.outcomes, scene.posts) == (3, ["refused"], 0)
    assert done.is_one_clear_sentence(), done


def test_no_connection_is_exit_code_6_and_certainly_not_sent(scene: Scene) -> None:
    scene.server.stop()
    done = scene.folder.run_apart("send", TASK, WORDS)
    assert (done.code, scene.outcomes) == (6, ["refused"])
    assert done.is_one_clear_sentence(), done


def test_a_sign_in_server_that_is_away_is_exit_code_6_and_certainly_not_sent(scene: Scene) -> None:
    client = {"MAIA_SYNC_AUTH__CLIENT_ID": "me", "MAIA_SYNC_AUTH__CLIENT_SECRET": SECRET}
    away = {"MAIA_SYNC_AUTH__TOKEN": "", "MAIA_SYNC_AUTH__TOKEN_URL": "http://127.0.0.1:9/token"}
    done = scene.send(TASK, WORDS, **client, **away)
    assert (done.code, scene.outcomes, scene.posts) == (6, ["refused"], 0)
    assert done.is_one_clear_sentence(), done


def test_a_poll_that_fails_afterwards_is_a_note_and_exit_code_0(scene: Scene) -> None:
    scene.world.faults.add(Fault(kind="status", status=500, count=None, method="GET"))
    done = scene.send(TASK, WORDS)
    assert (done.code, done.out) == (0, f"Accepted: message 1 to task {TASK}\n")
    assert done.err.startswith("The message was accepted, but polling the task failed: ")


# ------------------------------------------------------------------ --follow


def test_follow_prints_what_is_new_until_it_has_been_quiet_and_stores_it(scene: Scene) -> None:
    scene.folder.ok("sync")
    done = scene.send(TASK, WORDS, "--follow", "--quiet", "1s")
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert len(lines) == 2
    assert WORDS in lines[0]
    assert "Understood." in lines[1]
    assert scene.copy.one("SELECT count(*) FROM task_event") == 7
    assert scene.copy.ask("SELECT status, events_new FROM sync_run ORDER BY id DESC")[0] == ("succeeded", 2)
    assert scene.copy.one("SELECT count(*) FROM sync_run") == 2


def test_follow_of_a_log_that_was_never_read_stores_all_and_prints_the_newest(scene: Scene) -> None:
    scene.world.logs[TASK].extend(events(40, 5))
    done = scene.send(TASK, WORDS, "--follow", "--quiet", "0s")
    lines = done.out.splitlines()
    assert len(lines) == 20
    assert "Understood." in lines[-1]
    assert scene.copy.one("SELECT count(*) FROM task_event") == 47


def test_follow_of_an_empty_log_prints_what_comes(scene: Scene) -> None:
    scene.world.logs[TASK].events.clear()
    done = scene.send(TASK, WORDS, "--follow", "--quiet", "0s")
    assert [WORDS in line for line in done.out.splitlines()] == [True, False]


def test_follow_does_not_wait_for_what_was_refused_or_is_unknown(scene: Scene) -> None:
    for status in (403, 502):
        scene.world.faults.add(Fault(kind="status", status=status, method="POST"))
        assert scene.send(TASK, WORDS, "--follow").code == 1
    assert scene.world.tally.by_method["GET"] == 0


def test_ctrl_c_ends_follow_with_130_and_what_came_is_stored(scene: Scene) -> None:
    scene.folder.ok("sync")
    process = scene.folder.start("send", TASK, WORDS, "--follow", "--quiet", "1h")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, WORDS in first) == (130, True)
    assert "Traceback" not in told
    assert scene.outcomes == ["accepted"]
    assert scene.copy.ask("SELECT status FROM sync_run ORDER BY id") == [("succeeded",), ("interrupted",)]
    assert scene.copy.free_leases() == 0


def test_sigterm_while_the_request_is_out_is_143_and_unknown(scene: Scene) -> None:
    reached: list[Any] = []
    scene.world.faults.add(Fault(kind="stall", count=None, method="POST"))
    scene.folder.variables["MAIA_SYNC_API__TIMEOUT"] = "30"
    process = scene.folder.start("send", TASK, WORDS)
    while not reached and process.poll() is None:
        reached = scene.outcomes if scene.posts else []
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert (process.returncode, scene.outcomes, reached) == (143, ["unknown"], ["unknown"])
    assert "do not just send it again" in told
