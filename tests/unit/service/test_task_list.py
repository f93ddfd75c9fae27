from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.service.task_list import NamedTask, fault_of_label, parse_task_list, read_task_id

ONE = "0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d"
TWO = "11111111-2222-4333-8444-555555555555"


def test_a_list_may_hold_comments_blank_lines_labels_any_line_ends_and_a_byte_order_mark() -> None:
    content = (
        f"\ufeff# ours\r\n\r\n{ONE}\r  {TWO.upper()} \t two words \n   # indented\n{{{ONE}}} again".encode()
    )
    listed = parse_task_list(content)
    assert listed.tasks == ((ONE, None), (TWO, "two words"), (ONE, "again"))
    assert listed.is_complete


@pytest.mark.parametrize(
    ("line", "label"),
    [
        (f'"{ONE}"', None),
        (f'{{"task_id": "{ONE.upper()}"}}', None),
        (f'{{"taskId":"{ONE}","label":" of a team ","state":{{"a":[1,2]}}}}', "of a team"),
        (f'{{"id":"{ONE}","label":null}}', None),
        (f'{{"id":"{ONE}","label":""}}', None),
        (f'{{"id":7,"task_id":"{ONE}"}}', None),
        (f'{{"id":"{TWO}","task_id":null,"taskId":"{ONE}"}}', None),
        (f'  {{"id":"{ONE.replace("-", "")}"}}  ', None),
    ],
)
def test_a_line_of_json_names_a_task_as_well(line: str, label: str | None) -> None:
    listed = parse_task_list(f"{TWO}\n{line}\n".encode())
    assert listed.tasks == ((TWO, None), (ONE, label))
    assert listed.is_complete


BAD = (
    b"s3cret",
    b"\xff\xfe",
    ONE.encode() + b",label",
    ONE.encode() + b" a\0b",
    ONE.encode() + b" \xff",
    b'{"id":"s3cret"}',
    b'{"name":"s3cret"}',
    b'{"id":["s3cret"]}',
    b'{"id":"%b","label":7}' % ONE.encode(),
    b'{"id":"%b","label":"\\u0000"}' % ONE.encode(),
    b'{"id":"%b"' % ONE.encode(),
    b'["%b"]' % ONE.encode(),
    b'"s3cret"',
    b"[" * 5_000,
    b"x" * 100_000,
)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_is_told_by_its_number_and_without_its_text_and_the_others_count(bad: bytes) -> None:
    listed = parse_task_list(b"# one\n" + bad + b"\n" + TWO.encode() + b" fine\n")
    assert listed.tasks == (NamedTask(TWO, "fine"),)
    assert not listed.is_complete
    (line,) = listed.bad_lines
    assert line.number == 2
    assert line.expected
    assert "s3cret" not in line.expected
    assert len(line.found) <= 60


def test_only_the_first_bad_lines_are_kept_and_all_are_counted() -> None:
    listed = parse_task_list(b"x\n" * 10_000 + ONE.encode())
    assert [line.number for line in listed.bad_lines] == [1, 2, 3, 4, 5]
    assert listed.bad_line_count == 10_000
    assert listed.tasks == ((ONE, None),)


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), st.sampled_from(BAD)))
)
def test_no_content_is_too_odd_to_be_read(lines: list[bytes]) -> None:
    listed = parse_task_list(b"\n".join([*lines, ONE.encode()]))
    assert (ONE, None) in listed.tasks
    assert (listed.bad_line_count == 0) == listed.is_complete
    for task in listed.tasks:
        assert read_task_id(task.task_id) == task.task_id
        assert task.label is None or fault_of_label(task.label) is None
