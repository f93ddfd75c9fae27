from __future__ import annotations

import pytest

from maia_sync.cli.task_ids import check_label, not_tracked, parse_task_file, parse_task_id, parse_task_ids
from maia_sync.errors import UsageError

PLAIN = "0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d"
OTHER = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    "text", [PLAIN, PLAIN.upper(), PLAIN.replace("-", ""), f"{{{PLAIN}}}", f"urn:uuid:{PLAIN}", f" {PLAIN}\n"]
)
def test_every_standard_spelling_of_a_uuid_is_one_task(text: str) -> None:
    assert parse_task_id(text) == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PLAIN[:-1],
        PLAIN + "0",
        PLAIN.replace("-", "_"),
        PLAIN.replace("0", "\u0660"),
        f"{{{PLAIN}",
        "-" * 36,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a UUID"):
        parse_task_id(text)


def test_a_very_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(UsageError) as caught:
        parse_task_id("x" * 10_000)
    assert len(str(caught.value)) < 150


def test_an_id_given_twice_counts_once_and_the_order_stays() -> None:
    assert parse_task_ids([OTHER, PLAIN.upper(), OTHER, PLAIN]) == [OTHER, PLAIN]


def test_a_file_may_hold_comments_blank_lines_labels_and_a_byte_order_mark() -> None:
    content = f"\ufeff# ours\r\n\r\n{PLAIN}\r\n  {OTHER.upper()} \t two words \n   # indented\n".encode()
    assert parse_task_file(content, "f") == [(PLAIN, None), (OTHER, "two words")]
    assert parse_task_file(b"", "f") == []


@pytest.mark.parametrize("bad", [b"nope", b"\xff\xfe", PLAIN.encode() + b",label", PLAIN.encode() + b" a\0b"])
def test_a_bad_line_is_named_by_its_number(bad: bytes) -> None:
    content = f"# one\n{PLAIN} fine\n".encode() + bad + b"\n"
    with pytest.raises(UsageError, match=r"tasks\.txt, line 3: "):
        parse_task_file(content, "tasks.txt")


@pytest.mark.parametrize("label", ["a\0b", "\udcff"])
def test_a_label_that_no_database_keeps_is_refused(label: str) -> None:
    with pytest.raises(UsageError):
        check_label(label)


def test_untracked_tasks_are_named() -> None:
    assert str(not_tracked([PLAIN])) == f"task {PLAIN} is not tracked"
    assert str(not_tracked([PLAIN, OTHER])).startswith("2 of these tasks")
