"""`maia-sync archive prune`, `hold`, `release` and `holds` from outside, and what `status` says of them."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import Any

from cli_folder import CliFolder
from told_story import task_ids

FIRST, SECOND = task_ids(2)
UNKNOWN = "99999999-1111-4111-8111-111111111111"


def ask(folder: CliFolder, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder.path / "maia_sync.db")) as connection, connection:
        return list(connection.execute(sql))


PAYLOADS = "SELECT task_id, count(data) FROM task_event GROUP BY 1 ORDER BY 1"


def test_keygen_makes_the_digests_key_as_well_and_keeps_one_that_is_there(folder: CliFolder) -> None:
    digests = folder.path / "archive.key.digests"
    assert stat.S_IMODE(digests.stat().st_mode) == 0o600
    before = digests.read_bytes()
    made = folder.ok("archive", "keygen", "--name", "test.example/other", "-o", "other.key")
    assert not (folder.path / "other.key.digests").exists()
    assert digests.read_bytes() == before
    assert f"set archive.digest_key_file to {digests}" in made.out
    refused = folder.run("archive", "keygen", "-o", "third.key", MAIA_SYNC_ARCHIVE__URL=".")
    assert refused.code == 2
    assert not (folder.path / "third.key").exists()
    digests.unlink()
    made = folder.ok("archive", "keygen", "--name", "test.example/third", "-o", "third.key")
    assert "The digests' key: third.key.digests" in made.out
    assert "who does not have it cannot find them out by trying" in made.out


def test_prune_tells_per_month_what_would_go_and_then_what_went(folder: CliFolder) -> None:
    rehearsed = folder.ok("archive", "prune", "--older-than", "30d", "--dry-run")
    assert "Would prune 100 payloads (" in rehearsed.out
    assert "no difference" in rehearsed.out
    assert ask(folder, PAYLOADS) == [(FIRST, 50), (SECOND, 50)]
    assert folder.ok("archive", "prune", "--older-than", "36500d").out.splitlines()[1].startswith("Pruned 0 ")
    folder.ok("archive", "hold", FIRST, "--reason", "a case")
    document = folder.ok("archive", "prune", "--older-than", "30d", "--json").json()
    assert {name: document[name] for name in ("payloads", "held", "dry_run", "finding_count")} == {
        "payloads": 50,
        "held": 50,
        "dry_run": False,
        "finding_count": 0,
    }
    (month,) = document["months"]
    assert (month["month"], month["payloads"], month["held"]) == ("2026-01", 50, 50)
    assert ask(folder, PAYLOADS) == [(FIRST, 50), (SECOND, 0)]
    folder.variables |= {"MAIA_SYNC_ARCHIVE__RETENTION": "200d", "MAIA_SYNC_ARCHIVE__SCHEDULE": "1d"}
    again = folder.ok("archive", "prune")
    assert "50 payloads are old enough, and stay: on legal hold" in again.out
    assert again.out.splitlines()[-1].split() == ["2026-01", "0", "0", "50"]
    (folder.path / "archive.key.digests").unlink()
    refused = folder.run("archive", "prune")
    assert (refused.code, refused.is_one_clear_sentence()) == (3, True)
    assert "archive.key.digests is not there" in refused.err
    assert "bring the key from the host that has done so" in refused.err


def test_prune_refuses_what_it_cannot_do_and_prunes_nothing_from_a_damaged_archive(folder: CliFolder) -> None:
    for arguments in ((), ("--older-than", "soon"), ("--older-than", "100000d")):
        refused = folder.run("archive", "prune", *arguments)
        assert refused.code == 2
        assert refused.is_one_clear_sentence()
    for bare in ("400", "400.", " 1.5 "):
        refused = folder.run("archive", "prune", "--older-than", bare)
        assert refused.code == 2
        assert "--older-than: expected a duration with a unit, such as 400d" in refused.err
    assert ask(folder, PAYLOADS) == [(FIRST, 50), (SECOND, 50)]
    segment = next((folder.path / "archive" / "data").rglob("*.parquet"))
    segment.chmod(0o644)
    segment.write_bytes(b"damaged")
    refused = folder.run("archive", "prune", "--older-than", "30d")
    assert refused.code == 7
    assert refused.out.startswith("Nothing was pruned: the archive at ")
    assert segment.name in refused.out
    assert folder.run("archive", "prune", "--older-than", "30d", "--json", "--dry-run").code == 7
    assert ask(folder, PAYLOADS) == [(FIRST, 50), (SECOND, 50)]


def test_a_hold_is_in_force_at_once_and_the_log_tells_of_it_and_of_its_release(folder: CliFolder) -> None:
    made = folder.ok("archive", "hold", SECOND, FIRST, "--reason", " case 12 ", "--by", "Ada Lovelace")
    assert made.out.splitlines()[:2] == [
        f"On legal hold from now on: task {SECOND} (hold 1)",
        f"On legal hold from now on: task {FIRST} (hold 2)",
    ]
    assert "The log of test.example/log tells of it" in made.out
    again = folder.ok("archive", "hold", SECOND, "--reason", "case 12")
    assert "On legal hold for this reason already: 1 task" in again.out
    document = folder.ok("archive", "hold", "--all", "--reason", "case 13", "--json").json()
    (general,) = document["holds"]
    assert (general["task_id"], general["id"], document["archive_error"]) == (None, 3, None)
    assert [one["on_hold"] for one in folder.ok("tasks", "--json").json()] == [True, True]
    held_by = [one["held_by"] for one in folder.ok("archive", "holds", "--json").json()]
    assert [one.startswith("Ada Lovelace (") for one in held_by] == [True, True, False]
    listed = folder.ok("archive", "holds").out
    assert ("all tasks" in listed, "case 12" in listed, FIRST in listed) == (True, True, True)
    released = folder.ok("archive", "release", SECOND, "--reason", "it is over")
    assert released.out.splitlines()[0] == f"Released: task {SECOND} (hold 1)"
    assert [one["id"] for one in folder.ok("archive", "holds", "--json").json()] == [2, 3]
    every = folder.ok("archive", "holds", "--released", "--json").json()
    assert [one["release_reason"] for one in every] == ["it is over", None, None]
    told = folder.ok("archive", "verify", "--json").json()
    assert (told["entries"]["hold"], told["finding_count"]) == (4, 0)
    assert "2 holds in force" in folder.ok("status").out


def test_releasing_what_is_not_held_and_holding_what_is_not_known_are_usage_errors(folder: CliFolder) -> None:
    for arguments, sentence in (
        (("hold", UNKNOWN, "--reason", "r"), "is not known here"),
        (("hold", "--reason", "r"), "no task ids given"),
        (("hold", FIRST, "--all", "--reason", "r"), "no task ids go with it"),
        (("hold", FIRST, "--reason", "  "), "--reason: expected some words"),
        (("hold", FIRST, "--reason", "x" * 2001), "2,000 characters at most"),
        (("hold", FIRST), "--reason"),
        (("release", FIRST, "--reason", "r"), "has no hold of its own"),
        (("release", "--all", "--reason", "r"), "no hold is on all tasks"),
        (("release", "--hold", "7", "--reason", "r"), "hold 7 is not in force"),
        (("release", "--hold", "7", "--all", "--reason", "r"), "no tasks and no --all go with it"),
    ):
        refused = folder.run("archive", *arguments)
        assert (refused.code, refused.out) == (2, ""), arguments
        assert sentence in refused.err, arguments
    assert folder.ok("archive", "holds").out == "No legal hold is in force\n"
    folder.ok("archive", "hold", "--all", "--reason", "general")
    refused = folder.run("archive", "release", FIRST, "--reason", "r")
    assert "the one on all tasks is released with --all" in refused.err
    for reason in ("one", "two"):
        folder.ok("archive", "hold", FIRST, "--reason", reason)
    refused = folder.run("archive", "release", FIRST, "--reason", "r")
    assert "2 holds (2, 3) are on task" in refused.err
    folder.ok("archive", "release", "--hold", "3", "--hold", "1", "--reason", "r")
    assert [one["id"] for one in folder.ok("archive", "holds", "--json").json()] == [2]


def test_a_hold_is_in_force_also_where_the_log_cannot_tell_of_it(folder: CliFolder) -> None:
    (folder.path / "archive" / "checkpoint").rename(folder.path / "elsewhere")
    failed = folder.run("archive", "hold", FIRST, "--reason", "a case")
    assert failed.code == 1
    sentence = (
        "the hold is in force, but the archive's log does not tell of it yet: the archive is not where it "
    )
    assert f"{sentence}should be, or not as it was left. Tell whoever runs it: " in failed.err
    assert "--new-log" not in failed.err
    assert len(folder.ok("archive", "holds", "--json").json()) == 1
    (folder.path / "elsewhere").rename(folder.path / "archive" / "checkpoint")
    assert folder.ok("archive", "prune", "--older-than", "30d", "--json").json()["held"] == 50
    unconfigured = CliFolder(folder.path).ok("archive", "hold", SECOND, "--reason", "a case")
    assert "no log tells of it" in unconfigured.err


def test_status_tells_what_retention_would_do_and_what_was_pruned(folder: CliFolder) -> None:
    folder.variables |= {"MAIA_SYNC_ARCHIVE__RETENTION": "200d", "MAIA_SYNC_ARCHIVE__SCHEDULE": "1d"}
    shown = folder.ok("status").out
    assert "Retention    payloads stay for 200d; 100 events to prune now\n" in shown
    assert "Last prune " not in shown
    folder.ok("archive", "hold", "--all", "--reason", "a case")
    folder.ok("archive", "prune")
    shown = folder.ok("status").out
    assert "Retention    payloads stay for 200d; 100 events older, all on legal hold\n" in shown
    assert "Last prune   0 payloads, 100 left on legal hold, " in shown
    told = folder.ok("status", "--json").json()["retention"]
    assert (told["retention_seconds"], told["come_of_age"], told["holds"]) == (200 * 86_400, 100, 1)
    assert (told["last_prune"]["payloads"], told["last_prune"]["held"]) == (0, 100)
    assert told["unfinished_erasures"] == 0
