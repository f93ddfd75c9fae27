"""Does a test fail for each promise of DESIGN section 3, if the code breaks it? `python tests/mutants.py`.

Each mutant is one small edit in a copy of the code, and the tests that must notice it. The tests run against
the code as it is, too: they pass, or nothing else would mean anything. Each edit is applied alone: its tests
must fail. Exit code 0 if they all do. SQLite only. With `--sample` one test of each file runs against the
code as it is, which shows that they can pass here: for .ci/run, which runs all of them anyway.

An interpreter that starts and imports costs more than most of these tests. So each is forked from one that
has imported what is not ours; the code that is edited, and the tests, are imported anew each time.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerContext

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("maia_sync", "migrations", "tests", "pyproject.toml", "config.example.toml")
AT_ONCE = 2
TIMEOUT = 120
IMPORTED = (
    "_pytest.skipping",
    "alembic.command",
    "anyio._backends._asyncio",
    "apscheduler.schedulers.background",
    "certifi",
    "cryptography",
    "httpcore._backends.anyio",
    "httpx",
    "hypothesis",
    "jinja2",
    "msgspec",
    "obstore",
    "psycopg",
    "pytest",
    "rich.console",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "starlette.applications",
    "structlog",
    "typer",
    "uvicorn",
    "yaml",
)
"""What is not ours, and what the tests below or the code that they try would import."""

COMPLETE = "integration/test_promises_complete.py"
CHANGES = "integration/test_promises_changes.py"
NEWEST = "integration/test_promises_newest_first.py"
TAILS = "integration/test_promises_tails.py"
SEND = "integration/test_send.py"
UPSTREAM = "integration/test_upstream.py"
MANNERS = "integration/test_manners.py"
PROXY = "unit/maia/test_proxy.py"
TRANSPORTS = "integration/test_transports.py"
ISOLATED = "integration/test_promises_isolated.py"
DISCREET = "integration/test_promises_discreet.py"
LEASES = "integration/test_leases.py"
GROUPS = "integration/test_page_groups.py"
TICKS = "integration/test_ticks.py"
SUMMARIES = "integration/test_summaries.py"
REBUILD = "integration/test_facets_rebuild.py"
KILLS = "acceptance/test_kill_backfill.py"
JOURNAL = "integration/test_archive_journal.py"
EMPTIED = "integration/test_emptied_rows.py"
ERASED = "integration/test_archive_erased_verified.py"


@dataclass(frozen=True)
class Mutant:
    """One edit: in `file`, which holds `old` exactly once, `new` stands instead; `tests` must fail."""

    promise: str
    breaks: str
    file: str
    old: str
    new: str
    tests: str
    """A file below tests/ and a test's name."""
    only: str = "sqlite"
    """Which of the test's parameters, as pytest's -k has it."""


MUTANTS = (
    Mutant(
        "P1",
        "reads the next token as `more` alone",
        "maia/wire.py",
        "wire.more or wire.nextCursor or None",
        "wire.more or None",
        f"{COMPLETE}::test_p1_the_next_token_is_read_under_both_names_and_the_end_in_every_spelling",
        "sqlite and absent-nextCursor",
    ),
    Mutant(
        "P1",
        'takes the token "" for a token',
        "maia/wire.py",
        "wire.more or wire.nextCursor or None",
        "wire.more if wire.more is not None else wire.nextCursor",
        f"{COMPLETE}::test_p1_the_next_token_is_read_under_both_names_and_the_end_in_every_spelling",
        "sqlite and empty-more",
    ),
    Mutant(
        "P1",
        "takes a 200 without results for an empty log",
        "maia/wire.py",
        '    if "results" not in fields:\n        raise BrokenPage("the answer has no results array")',
        '    if "results" not in fields:\n        return b"[]", None',
        f"{COMPLETE}::test_p1_a_body_that_is_no_page_is_never_taken_for_the_end_of_a_log",
        "sqlite and not_a_page",
    ),
    Mutant(
        "P1",
        "drops what cannot be stored as an event",
        "sync/page.py",
        "return insert_quarantined(tx, task_id, page.quarantined, terms.run_id)",
        "return 0",
        f"{COMPLETE}::test_p1_every_odd_event_is_stored_or_quarantined_to_the_letter_and_the_run_goes_on",
    ),
    Mutant(
        "P1",
        "appends late insertions at the end",
        "sync/order.py",
        "        upper = self._successor(lower)\n",
        "        lower, upper = self._end(), None\n",
        f"{CHANGES}::test_p1_a_late_insertion_is_found_by_the_reconcile_and_stands_between_its_neighbours",
        "sqlite and 25",
    ),
    Mutant(
        "P1",
        "lets rows without room forget their order",
        "sync/order.py",
        "max(0, at + 1 - room)) for at in range(count)]",
        "-max(0, at + 1 - room) * 10**9) for at in range(count)]",
        f"{CHANGES}::test_p1_insertions_at_one_spot_stay_in_order_beyond_the_room_between_two_rows",
    ),
    Mutant(
        "P2",
        "numbers ordinals from one",
        "sync/identity.py",
        "ordinal = ordinals.get(key, 0)",
        "ordinal = ordinals.get(key, 1)",
        f"{CHANGES}::test_p3_of_events_of_one_key_side_by_side_only_the_changed_one_gets_a_revision",
    ),
    Mutant(
        "P2",
        "takes another spelling for another payload",
        "sync/identity.py",
        "next((row for row in rows if self._row_canonical(row) == wanted), None)",
        "next((row for row in rows if self._row_canonical(row) == wanted and not rows), None)",
        f"{CHANGES}::test_p2_a_payload_spelt_otherwise_is_the_same_event_and_its_first_spelling_stays",
    ),
    Mutant(
        "P2",
        "writes a page under a lease that it has lost",
        "store/leases.py",
        "archived[lease.task_id, lease.epoch] for",
        "archived.get((lease.task_id, lease.epoch), False) for",
        f"{ISOLATED}::test_p2_a_worker_that_lost_its_lease_while_a_page_was_fetched_writes_nothing",
    ),
    Mutant(
        "P2",
        "overwrites a checkpoint of a newer epoch",
        "store/checkpoints.py",
        ', checkpoint.c.epoch <= bindparam("new_epoch"))',
        ")",
        f"{ISOLATED}::test_p2_a_checkpoint_of_a_newer_epoch_is_never_overwritten",
    ),
    Mutant(
        "P2",
        "takes a task whose lease is alive",
        "store/leases.py",
        "task.c.lease_expires_at < bindparam(",
        "task.c.lease_expires_at > bindparam(",
        f"{ISOLATED}::test_a_living_lease_is_respected_and_an_expired_one_taken_over",
    ),
    Mutant(
        "P3",
        "drops the revision",
        "store/events.py",
        "[int(tx.connection.execute(history, name).scalar_one()) + 1 for name in names]",
        "[1 for name in names]",
        f"{CHANGES}::test_p3_a_changed_payload_is_a_revision_of_the_same_row",
        "sqlite and 33-False",
    ),
    Mutant(
        "P3",
        "pairs changes before equal payloads",
        "sync/identity.py",
        "row = by_digest.get(payload) or self._equal_row(key, event)",
        'row = None if b"c" in (event.data or "").encode() else by_digest.get(payload)',
        f"{CHANGES}::test_p3_equal_payloads_match_before_changes_are_paired",
    ),
    Mutant(
        "P3",
        "marks as vanished before the last page",
        "sync/page.py",
        "    vanished = doubted = 0\n",
        "    vanished = doubted = 0\n"
        "    if moved.reconcile:\n"
        "        event_store.mark_vanished(tx, log, moved.reconcile.seen, journal)\n",
        f"{CHANGES}::test_p3_nothing_is_marked_by_a_reconcile_that_did_not_reach_the_end",
    ),
    Mutant(
        "P3",
        "marks more than a tenth at once",
        "sync/page.py",
        "_DOUBTFUL_SHARE = 10",
        "_DOUBTFUL_SHARE = 0",
        f"{CHANGES}::test_p3_more_than_a_tenth_is_marked_only_when_a_second_reconcile_agrees",
    ),
    Mutant(
        "P3",
        "leaves the mark on a row that is served again",
        "sync/page.py",
        "    event_store.unmark_vanished(tx, task_id, plan.returned)\n",
        "",
        f"{CHANGES}::test_p3_a_vanished_event_that_is_served_again_is_unmarked",
        "sqlite and True",
    ),
    Mutant(
        "sums",
        "forgets new events in the summaries",
        "sync/page.py",
        "    add_events(tx, task_id, new.group_ids, new.occurred_ats, new_facets)\n",
        "",
        f"{SUMMARIES}::test_the_summaries_equal_the_slow_query_whatever_happens",
    ),
    Mutant(
        "sums",
        "leaves an event that came back out of the summaries",
        "sync/page.py",
        "    for row in plan.returned:\n",
        "    for row in ():\n",
        f"{SUMMARIES}::test_the_summaries_equal_the_slow_query_whatever_happens",
    ),
    Mutant(
        "sums",
        "leaves what has vanished in the summaries",
        "sync/page.py",
        "    if vanished:\n        sum_again(",
        "    if False:\n        sum_again(",
        f"{SUMMARIES}::test_the_summaries_equal_the_slow_query_whatever_happens",
    ),
    Mutant(
        "sums",
        "leaves a task's last group out of a rebuild's sums",
        "analytics/rebuild.py",
        "but=last if goes_on else None",
        "but=last",
        f"{REBUILD}::test_an_interrupted_rebuild_goes_on_where_it_stopped",
    ),
    Mutant(
        "P4",
        "spells payloads anew",
        "maia/wire.py",
        'str(raw, "utf-8") for raw in raws',
        'json.dumps(json.loads(str(raw, "utf-8"))) for raw in raws',
        f"{COMPLETE}::test_p4_payload_text_is_stored_as_it_came",
    ),
    Mutant(
        "P4",
        "keeps a timestamp's instant instead of its text",
        "maia/wire.py",
        "timestamp_texts=texts,",
        "timestamp_texts=instants.occurred_at,",
        f"{COMPLETE}::test_p4_timestamps_keep_every_digit_that_came",
    ),
    Mutant(
        "P5",
        "commits events before their checkpoint",
        "sync/page.py",
        "        advance_checkpoint(tx, lease, moved.checkpoint)\n",
        '        tx.connection.exec_driver_sql("COMMIT")\n'
        '        tx.connection.exec_driver_sql("BEGIN IMMEDIATE")\n'
        "        advance_checkpoint(tx, lease, moved.checkpoint)\n",
        f"{KILLS}::test_p5_a_ten_page_reconcile_killed_on_each_page_completes_and_marks_what_vanished",
        "sqlite and mid",
    ),
    Mutant(
        "P5",
        "moves the checkpoint without the events",
        "sync/page.py",
        "    page, _ = pages\n    log = ",
        "    page, _ = pages\n"
        "    if page.next_token:\n"
        "        early = Cursor(page_token=page.next_token, compare_seq=position.cursor.compare_seq)\n"
        "        advance_checkpoint(tx, lease, msgspec.structs.replace(position.checkpoint, cursor=early))\n"
        '        tx.connection.exec_driver_sql("COMMIT")\n'
        '        tx.connection.exec_driver_sql("BEGIN IMMEDIATE")\n'
        "    log = ",
        f"{KILLS}::test_p5_twenty_kills_of_a_backfill_lose_nothing_double_nothing_and_cost_two_pages_a_task_at_most",
    ),
    Mutant(
        "P5",
        "keeps the leases of an interrupted run",
        "sync/walk.py",
        "        if lease is not None:\n            with suppress(MaiaSyncError)",
        "        if lease is None:\n            with suppress(MaiaSyncError)",
        f"{KILLS}::test_p5_a_signal_amid_many_short_tasks_leaves_no_lease_behind",
    ),
    Mutant(
        "P6",
        "writes the checkpoint at an idle poll",
        "sync/page.py",
        "    if moved.checkpoint != position.stored:\n",
        "    if moved.checkpoint is not None:\n",
        f"{CHANGES}::test_p6_an_idle_poll_is_one_request_and_writes_no_row_whatever_the_log_has_been_through",
    ),
    Mutant(
        "P6",
        "polls from the log's start",
        "sync/page.py",
        "    checkpoint = msgspec.structs.replace(moved.checkpoint, cursor=cursor)\n    return",
        "    cursor = Cursor(page_token=None, compare_seq=0)\n"
        "    checkpoint = msgspec.structs.replace(moved.checkpoint, cursor=cursor)\n    return",
        f"{CHANGES}::test_p3_a_poll_does_not_read_an_early_page_and_so_leaves_its_change_to_the_reconcile",
    ),
    Mutant(
        "P7",
        "lets one task's failure end the run",
        "sync/run.py",
        "            report = failed_walk(walk.report, error)\n",
        "            raise\n",
        f"{COMPLETE}::test_p1_a_200_without_a_results_array_is_an_error_of_the_task",
    ),
    Mutant(
        "P7",
        "notices no circle of tokens",
        "sync/loop_guard.py",
        "        if page.next_token == self._remembered:\n",
        "        if page.next_token is None:\n",
        f"{ISOLATED}::test_p7_an_endless_or_looping_log_is_never_a_completed_walk",
    ),
    Mutant(
        "P7",
        "leaves an error that has passed",
        "store/polls.py",
        "last_polled_at = {{moment}}, last_error = NULL, last_error_at = NULL,",
        "last_polled_at = {{moment}},",
        f"{ISOLATED}::test_p7_tasks_that_fail_each_in_its_way_stop_no_other_and_recover",
        "sqlite-8",
    ),
    Mutant(
        "P7",
        "keeps a token that was refused",
        "sync/position.py",
        "        cursor=LOG_START,\n        reconcile=reconcile,\n        then_reconcile=False,",
        "        reconcile=reconcile,\n        then_reconcile=False,",
        f"{CHANGES}::test_p2_a_refused_token_leads_to_a_walk_from_the_start_that_makes_no_second_row",
    ),
    Mutant(
        "P7",
        "asks for ever after refusals without progress",
        "sync/walk.py",
        "self._refused_at is not None and depth <= self._refused_at",
        "self._refused_at is not None and depth < self._refused_at - 2**62",
        f"{ISOLATED}::test_two_refusals_without_getting_deeper_are_the_tasks_error",
    ),
    Mutant(
        "P8",
        "keeps the whole log in memory",
        "sync/walk.py",
        "        self._tell(self._in_hand, written)\n",
        "        self._tell(self._in_hand, written)\n"
        "        self._kept = [*getattr(self, '_kept', []), page]\n",
        f"{KILLS}::test_p8_memory_does_not_grow_with_the_log_nor_with_the_number_of_tasks",
    ),
    Mutant(
        "P8",
        "goes on with a walk that has no place",
        "sync/walk.py",
        "        await self._place.take()\n",
        "",
        f"{GROUPS}::test_p8_a_walk_that_goes_on_behind_a_last_page_has_a_place_again",
    ),
    Mutant(
        "P8",
        "lets large pages lend their places",
        "sync/walk.py",
        "page.next_token is None and page.size_bytes <= SMALL",
        "page.next_token is None",
        f"{GROUPS}::test_p8_a_large_last_page_keeps_its_place",
    ),
    Mutant(
        "P9",
        "repeats upstream's words though they quote a token",
        "maia/problem.py",
        "if any(secret and _holds(sentence, secret) for secret in secrets):",
        "if not sentence:",
        f"{DISCREET}::test_p9_no_secret_gets_out_when_a_problem_quotes_the_request",
        "sqlite-plain-500",
    ),
    Mutant(
        "P9",
        "lets httpx log addresses with page tokens",
        "maia/connection.py",
        "setLevel(logging.WARNING)",
        "setLevel(logging.DEBUG)",
        f"{PROXY}::test_p9_no_page_token_is_logged_on_the_way_through_a_proxy",
        "httpx",
    ),
    Mutant(
        "P2",
        "lets aiohttp repeat by itself what broke",
        "maia/over_aiohttp.py",
        "middlewares=(_only_once,)",
        "middlewares=()",
        f"{TRANSPORTS}::test_a_connection_that_breaks_on_a_later_request_is_not_repeated_by_the_library",
        "aiohttp",
    ),
    Mutant(
        "P2",
        "takes a connection that broke for one that was never made",
        "maia/over_aiohttp.py",
        "if isinstance(error, _NOT_CONNECTED):",
        "if isinstance(error, aiohttp.ClientConnectionError):",
        f"{TRANSPORTS}::test_a_message_over_a_connection_that_breaks_is_sent_once",
        "aiohttp",
    ),
    Mutant(
        "P7",
        "keeps a connection whose request did not end well",
        "maia/connection.py",
        "if ended_well and not self._closed:",
        "if not self._closed:",
        f"{TRANSPORTS}::test_p7_a_request_that_is_cancelled_at_any_step_costs_no_later_one_its_connection",
        "httpx",
    ),
    Mutant(
        "P1",
        "lets rows above an open gap end a walk",
        "sync/gaps.py",
        "return tuple(gap for gap in others if gap.floor is None or gap.floor > met)",
        "return ()",
        f"{NEWEST}::test_p1_rows_above_an_open_gap_never_end_a_walk",
    ),
    Mutant(
        "P1",
        "lets one known row end a walk",
        "sync/gaps.py",
        "_FEWEST_IN_A_ROW = 2",
        "_FEWEST_IN_A_ROW = 0",
        "unit/sync/test_gaps.py::test_one_row_alone_or_rows_that_are_no_neighbours_do_not",
        "test",
    ),
    Mutant(
        "P1",
        "forgets what an interrupted head walk left out",
        "sync/page.py",
        "others = left_open(Gap(cursor=moved.cursor, floor=floor), others)",
        "others = left_open(Gap(cursor=moved.cursor, floor=floor), others[:0])",
        f"{NEWEST}::test_p1_what_an_interrupted_head_walk_left_out_is_read_later_whatever_came_meanwhile",
        "sqlite and 4",
    ),
    Mutant(
        "P1",
        "reads one end of a log whose order is not sure",
        "sync/walk.py",
        "        if position.checkpoint.order_is_sure or position.cursor == LOG_START:\n",
        "        if position.cursor is not None:\n",
        f"{NEWEST}::test_the_order_is_undecided_while_no_two_timestamps_differ_and_both_ends_are_read",
    ),
    Mutant(
        "P1",
        "stores newest-first logs upside down",
        "store/bulk.py",
        '[-place for place in varying["seq"]]',
        'list(varying["seq"])',
        f"{NEWEST}::test_newest_first_logs_are_complete_grow_and_cost_one_request_when_idle",
    ),
    Mutant(
        "P1",
        "asks a token with a larger limit without proof",
        "sync/limits.py",
        "        if cursor.page_token is None or cursor.limit is None or self._independent:\n",
        "        if cursor.page_token is None or cursor.limit is None or self._calm:\n",
        f"{TAILS}::test_p1_a_limit_that_was_too_much_shrinks_and_grows_back_and_nothing_is_left_out",
        "sqlite and page-number and oldest-first and free",
    ),
    Mutant(
        "P1",
        "believes a shorter tail unseen",
        "sync/tail.py",
        "        return 0 < known <= len(events) and is_repetition(events[:known], window)",
        "        return known >= 0",
        f"{TAILS}::test_p6_tokens_that_depend_on_the_limit_or_refuse_another_one_are_left_alone_and_nothing_is_lost",
        "sqlite and page-number and free and 900",
    ),
    Mutant(
        "P6",
        "reads a long quiet tail for ever",
        "sync/tail.py",
        "    quiet, elements = min(before + 1, _QUIET_POLLS), page.element_count\n",
        "    quiet, elements = 0, page.element_count\n",
        f"{TAILS}::test_p6_after_two_idle_polls_of_a_long_last_page_the_checkpoint_moves_close_to_the_end",
        "sqlite and 2900",
    ),
    Mutant(
        "P2",
        "repeats a message that may have been processed",
        "maia/client.py",
        "            except RetryLater as error:\n                raise _unknown(error) from error\n",
        "            except RetryLater:\n                raise\n",
        f"{SEND}::test_what_may_have_been_processed_reaches_the_server_exactly_once_and_is_unknown",
        "sqlite and reset",
    ),
    Mutant(
        "P2",
        "repeats a message after a 502",
        "maia/client.py",
        "if isinstance(refusal, RetryLater) and not isinstance(refusal, TooManyRequests):",
        "if isinstance(refusal, TooManyRequests) and refusal is None:",
        f"{SEND}::test_what_may_have_been_processed_reaches_the_server_exactly_once_and_is_unknown",
        "sqlite and 502",
    ),
    Mutant(
        "P5",
        "notes a message after it was sent",
        "store/sent.py",
        '        "outcome": "unknown",',
        '        "outcome": "refused",',
        f"{SEND}::test_the_row_is_there_before_the_request_and_stays_unknown_if_the_process_is_killed",
    ),
    Mutant(
        "P7",
        "never signs in again",
        "maia/client.py",
        "if answer.status == 401 and await self._auth.replace(answer.bearer):",
        "if answer.status == 401 and not answer.bearer:",
        f"{SEND}::test_a_401_is_answered_once_with_a_fresh_token",
    ),
    Mutant(
        "P2",
        "lets a worker write whose lease is another's",
        "store/leases.py",
        "_RENEW = update(task).where(_OURS)",
        '_RENEW = update(task).where(task.c.task_id == bindparam("of_task"))',
        f"{LEASES}::test_a_lease_that_has_run_out_is_claimed_by_another_and_its_owner_writes_nothing",
    ),
    Mutant(
        "service",
        "forgets that a task was made hot while it was walked",
        "store/polls.py",
        "WHEN task.next_poll_at {{is}} {{found}} THEN {{poll_at}} ELSE task.next_poll_at END",
        "WHEN {_IS_WALKED} THEN {{poll_at}} ELSE task.next_poll_at END",
        f"{LEASES}::test_a_task_that_was_made_hot_in_mid_walk_is_due_at_once_whatever_the_walk_plans",
    ),
    Mutant(
        "service",
        "polls on what was paused while it was walked",
        "store/polls.py",
        "next_poll_at = CASE WHEN NOT {_IS_WALKED} THEN NULL\n        WHEN",
        "next_poll_at = CASE WHEN NOT {_IS_WALKED} THEN {{poll_at}}\n        WHEN",
        f"{LEASES}::test_what_is_paused_or_untracked_is_never_due_also_if_that_came_in_mid_walk",
    ),
    Mutant(
        "service",
        "lets leases run out while a walk waits",
        "sync/heartbeat.py",
        "            await self.beat()\n",
        "            await asyncio.sleep(0)\n",
        f"{LEASES}::test_a_heartbeat_keeps_a_lease_whose_walk_waits_longer_than_it_lives",
    ),
    Mutant(
        "service",
        "never gives way",
        "sync/walk.py",
        "return over or self.report.pages + 1 >= turn.pages",
        "return over",
        f"{TICKS}::test_a_long_backfill_gives_way_so_that_hot_tasks_stay_fresh",
    ),
    Mutant(
        "archive",
        "takes a vanished event that comes back changed for a change alone",
        "store/archive_journal.py",
        "(*plan.returned, *(change.row for change in plan.changed if change.row.vanished))",
        "plan.returned",
        f"{JOURNAL}::test_a_vanished_event_that_comes_back_with_another_payload_is_revised_and_returned",
    ),
    Mutant(
        "archive",
        "tells the order of today for what was noted before a turn",
        "store/archive_reading.py",
        "yield _Wanted(Version(group_id, timestamp, ordinal, 0), note, turned)",
        "yield _Wanted(Version(group_id, timestamp, ordinal, 0), note, False)",
        f"{JOURNAL}::test_a_log_that_proves_to_be_newest_first_is_turned_behind_what_was_told_of_it",
    ),
    Mutant(
        "archive",
        "marks a row as archived that has changed since it was read",
        "store/archive_log.py",
        " if kind.state_of(row) == read[row.id]]",
        "]",
        f"{JOURNAL}::test_a_message_whose_outcome_comes_between_reading_and_marking_is_archived_again",
    ),
    Mutant(
        "archive",
        "tells a mark twice that was set since the task was enrolled",
        "store/archive_reading.py",
        "[record for record in records if _name_of(record) not in marked]",
        "records",
        f"{JOURNAL}::test_marks_that_were_set_and_taken_away_before_anything_was_archived_are_told",
    ),
    Mutant(
        "archive",
        "takes a payload that was erased for gone, unseen",
        "archive/verify_segments.py",
        "left = left_of(record, data, salt)",
        "left = None",
        f"{ERASED}::test_what_a_faulty_erasure_has_left_is_found",
    ),
    Mutant(
        "P6",
        "knows a removed payload again by its canonical digest alone",
        "sync/known_again.py",
        "digest=digests.get(row.digest, row.digest),",
        "digest=row.digest,",
        f"{EMPTIED}::test_p6_what_was_removed_is_served_again_in_whatever_spelling_and_nothing_is_written",
        "sqlite and oldest-first",
    ),
    Mutant(
        "archive",
        "restores what was erased as if it were pruned",
        "store/restoring.py",
        "meant.values(pruned_at=when, erased_at=when)",
        "meant.values(pruned_at=when, erased_at=None)",
        "integration/test_archive_restore.py::test_what_was_erased_comes_back_as_erased_and_is_known_again",
        "sqlite-sqlite",
    ),
    Mutant(
        "archive",
        "erases in spite of a hold that was set meanwhile",
        "archive/erasure.py",
        "            require_no_hold(tx, task_id)\n            lock_task(tx, task_id)\n",
        "            lock_task(tx, task_id)\n",
        "integration/test_archive_erase.py::test_a_hold_that_is_set_meanwhile_is_obeyed",
    ),
)


def main() -> int:
    began = time.monotonic()
    forge = multiprocessing.get_context("forkserver")
    forge.set_forkserver_preload(list(IMPORTED))
    with (
        tempfile.TemporaryDirectory(prefix="maia-mutants-") as scratch,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        room = Room(Path(scratch), forge)
        whole = threads.submit(try_unchanged, room, sample="--sample" in sys.argv[1:])
        verdicts = list(threads.map(lambda mutant: try_mutant(room, mutant), MUTANTS))
        unchanged = whole.result()
    for mutant, (noticed, words, seconds) in zip(MUTANTS, verdicts, strict=True):
        outcome = "noticed" if noticed else "SURVIVED"
        print(f"{mutant.promise}  {outcome:8}  {mutant.breaks:52}  {seconds:4.1f} s  {words}")
    survived = sum(not noticed for noticed, _, _ in verdicts)
    took = time.monotonic() - began
    print(f"{len(MUTANTS)} mutants, {survived} survived, {took:.0f} s; unchanged: {unchanged[1]}")
    return 0 if unchanged[0] and not survived else 1


class Room:
    """Where copies of the code lie, and where processes come from."""

    def __init__(self, folder: Path, forge: ForkServerContext) -> None:
        self.forge = forge
        self._folder = folder
        self._free: list[Path] = []
        self._made = 0

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        """Lend a copy of the code that nobody else edits meanwhile; it is put back as it was lent."""
        folder = self._free.pop() if self._free else self._lay_out()
        yield folder
        self._free.append(folder)

    def _lay_out(self) -> Path:
        self._made += 1
        folder = self._folder / str(self._made)
        lay_out(folder)
        return folder


def lay_out(folder: Path) -> None:
    """Copy the code and its tests to a new folder."""
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            left_out = shutil.ignore_patterns(".hypothesis", "__pycache__")
            shutil.copytree(source, folder / name, ignore=left_out)
        else:
            shutil.copy2(source, folder / name)


def try_unchanged(room: Room, *, sample: bool) -> tuple[bool, str]:
    """Run the tests of all mutants against the code as it is, or one of each file; they must pass."""
    chosen = {(mutant.tests, mutant.only) for mutant in MUTANTS}
    if sample:
        one_of_each = {tests.partition("::")[0]: (tests, only) for tests, only in sorted(chosen)}
        chosen = set(one_of_each.values())
    wanted = {f"({mutant_only} and {tests.partition('::')[2]})" for tests, mutant_only in chosen}
    files = sorted({tests.partition("::")[0] for tests, _ in chosen})
    with room.copy() as folder:
        status, words = run_pytest(
            room, folder, [f"tests/{file}" for file in files], " or ".join(sorted(wanted))
        )
    return status == 0, words


def try_mutant(room: Room, mutant: Mutant) -> tuple[bool, str, float]:
    """Apply one edit and run its tests; returns whether they failed, and pytest's summary."""
    began = time.monotonic()
    with room.copy() as folder:
        path = folder / "maia_sync" / mutant.file
        code = path.read_text(encoding="utf-8")
        if code.count(mutant.old) != 1:
            return False, f"{mutant.file} holds the text to be edited {code.count(mutant.old)} times", 0.0
        path.write_text(code.replace(mutant.old, mutant.new), encoding="utf-8")
        _date(path)
        status, words = run_pytest(room, folder, [f"tests/{mutant.tests}"], mutant.only)
        path.write_text(code, encoding="utf-8")
        _date(path)
    failed = status == 1 and "failed" in words and "error" not in words
    return failed, words, time.monotonic() - began


_DATES = itertools.count(1)


def _date(path: Path) -> None:
    """Give a file a moment that no other text of it has: by that and its size bytecode is known again."""
    moment = 1_000_000_000 + next(_DATES)
    os.utime(path, (moment, moment))


def run_pytest(room: Room, folder: Path, tests: list[str], only: str) -> tuple[int, str]:
    """Return pytest's exit status and its summary."""
    printed = folder / "printed"
    process = room.forge.Process(target=_be_pytest, args=(folder, printed, tests, only))
    process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        process.join()
        return 1, f"failed: did not end within {TIMEOUT} s"
    summaries = re.findall(r"^.+ in [0-9.]+s\b.*$", printed.read_text(encoding="utf-8"), re.MULTILINE)
    return process.exitcode, (summaries or ["nothing was printed"])[-1]


def _be_pytest(folder: Path, printed: Path, tests: list[str], only: str) -> None:
    """Be an interpreter that was just started to run pytest, but for what it has imported already."""
    with printed.open("wb") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    os.chdir(folder)
    for name in list(os.environ):
        if name.startswith(("PYTEST_", "MAIA_SYNC_")):
            del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPATH"] = str(folder)
    sys.dont_write_bytecode = False  # those to whom the copy is lent next do not compile it again
    sys.path[:] = [str(folder), *(path for path in sys.path if not Path(path).is_relative_to(ROOT / "tests"))]
    sys.argv = ["pytest"]
    # Most of the time would go into plugins that no test needs.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ["-p", "pytest_timeout", "-p", "no:cacheprovider"]
    status = pytest.main(["-x", "-q", "--tb=no", "--timeout=60", *plugins, "-k", only, *tests])
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
