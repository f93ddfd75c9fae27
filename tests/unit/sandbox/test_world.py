"""Does the sandbox's world cut logs into pages as an API would, in every variant?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from maia_sync.clock import ManualClock
from maia_sync.sandbox.world import Log, Refusal, SentMessage, World

TASK = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"


def world_of(count: int, **settings: Any) -> World:
    world = World(clock=ManualClock(), **settings)
    world.add(Log(TASK, [b"%d" % number for number in range(count)]))
    return world


def walk(world: World, limit: int, token: str | None = None) -> tuple[list[list[int]], list[str | None]]:
    """Return the pages from a token to the end, and the tokens that fetched them."""
    pages, tokens = [], []
    while True:
        page = json.loads(world.page(TASK, limit, token))
        pages.append(page["results"])
        tokens.append(token)
        token = page.get("more")
        if not token:
            return pages, tokens


def refusal_of(world: World, *request: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        world.page(*request)
    return caught.value


def test_oldest_first_pages_follow_one_another_to_the_end() -> None:
    pages, _ = walk(world_of(7), 3)
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


def test_newest_first_pages_follow_one_another_to_the_oldest_event() -> None:
    pages, _ = walk(world_of(7, order="newest-first"), 3)
    assert pages == [[6, 5, 4], [3, 2, 1], [0]]


def test_an_exactly_full_last_page_ends_the_log() -> None:
    assert walk(world_of(6), 3)[0] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("order", "pages"),
    [("oldest-first", [[0, 1, 2], [3, 4, 5], []]), ("newest-first", [[5, 4, 3], [2, 1, 0], []])],
)
def test_a_full_last_page_can_carry_a_token_to_an_empty_page(order: str, pages: list[list[int]]) -> None:
    assert walk(world_of(6, order=order, token_on_full_last_page=True), 3)[0] == pages


def test_a_stored_token_shows_what_was_appended_since() -> None:
    world = world_of(5)
    last = walk(world, 3)[1][-1]
    world.logs[TASK].append(b"5", b"6")
    assert walk(world, 3, last)[0] == [[3, 4, 5], [6]]


def test_a_newest_first_token_stays_where_it_was_when_events_are_appended() -> None:
    world = world_of(5, order="newest-first")
    second = walk(world, 2)[1][1]
    world.logs[TASK].append(b"5", b"6")
    assert walk(world, 2, second)[0] == [[2, 1], [0]]


def test_the_same_position_has_the_same_token_whatever_the_limit() -> None:
    world = world_of(20)
    assert walk(world, 4)[1][2] == walk(world, 8)[1][1] == world.token_at(TASK, 8)
    assert world.token_at(TASK, 8, salt="again") != world.token_at(TASK, 8)


def paged(world: World, limit: int, token: str | None = None) -> tuple[list[int], str | None]:
    page = json.loads(world.page(TASK, limit, token))
    return page["results"], page.get("more")


@pytest.mark.parametrize("fixed", ["free", "refused", "embedded"])
@pytest.mark.parametrize("style", ["position", "page-number", "offset"])
@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
@pytest.mark.parametrize("count", [0, 6, 7])
def test_under_one_limit_every_style_of_token_walks_the_log_alike(
    count: int, order: Any, style: Any, fixed: Any
) -> None:
    plain = world_of(count, order=order)
    world = world_of(count, order=order, token_style=style, fixed_limit=fixed, token_on_full_last_page=True)
    plain.token_on_full_last_page = True
    assert walk(world, 3)[0] == walk(plain, 3)[0]


@pytest.mark.parametrize(
    ("order", "first", "fourth"), [("oldest-first", 4, [4, 5]), ("newest-first", 4, [15, 14])]
)
def test_a_page_number_leads_elsewhere_under_another_limit(order: Any, first: int, fourth: list[int]) -> None:
    world = world_of(20, order=order, token_style="page-number")
    (_, token), (_, other) = paged(world, first), paged(world, 1)
    assert token == other
    pages, _ = paged(world, first, token)
    assert pages == ([4, 5, 6, 7] if order == "oldest-first" else [15, 14, 13, 12])
    third = paged(world, 2, paged(world, 2)[1])[1]
    assert paged(world, 2, third)[0] == fourth
    assert paged(world, 1000, third) == ([], None)
    assert world.token_at(TASK, 4 if order == "oldest-first" else 16, limit=2) == third


def test_an_offset_is_shifted_by_new_events_at_the_head_only() -> None:
    world = world_of(6, order="newest-first", token_style="offset")
    token = paged(world, 2)[1]
    assert paged(world, 3, token)[0] == [3, 2, 1]
    world.logs[TASK].append(b"6", b"7", b"8")
    assert paged(world, 2, token)[0] == [6, 5]
    still = world_of(6, token_style="offset")
    token = paged(still, 2)[1]
    still.logs[TASK].append(b"6")
    assert paged(still, 2, token)[0] == [2, 3]


def test_a_limit_can_be_fixed_by_the_token() -> None:
    world = world_of(20, fixed_limit="refused")
    token = paged(world, 4)[1]
    assert refusal_of(world, TASK, 2, token).violations == ("limit: must be 4",)
    assert paged(world, 4, token)[0] == [4, 5, 6, 7]
    world.fixed_limit = "embedded"
    page, token = paged(world, 2, token)
    assert page == [4, 5, 6, 7]
    assert token == world.token_at(TASK, 8, limit=4) != world.token_at(TASK, 8, limit=2)
    world.fixed_limit = "free"
    assert paged(world, 2, token)[0] == [8, 9]


def test_single_tasks_can_have_an_order_of_their_own() -> None:
    world = world_of(4)
    world.add(Log(OTHER, [b"0", b"1", b"2"]))
    world.orders[OTHER] = "newest-first"
    assert walk(world, 3)[0] == [[0, 1, 2], [3]]
    page = json.loads(world.page(OTHER, 2))
    assert page["results"] == [2, 1]
    assert json.loads(world.page(OTHER, 2, page["more"]))["results"] == [0]


@pytest.mark.parametrize(("how", "kind"), [("504", "status"), ("stall", "stall")])
def test_only_large_pages_are_too_much_for_a_slow_server(how: Any, kind: str) -> None:
    world = world_of(4, slow_above=30, slow_how=how)
    assert [world.slowness(limit) for limit in (None, 30, "30", "x", 0)] == [None] * 5
    found = world.slowness("31")
    assert found is not None
    assert found.kind == kind
    assert world_of(4).slowness(1000) is None


@pytest.mark.parametrize(
    ("end", "tail"),
    [("absent", b""), ("null", b',"more":null'), ("empty", b',"more":""')],
)
def test_the_end_is_spelt_as_chosen(end: str, tail: bytes) -> None:
    assert world_of(2, end=end).page(TASK) == b'{"results":[0,1]' + tail + b"}"


def test_a_log_can_end_by_repeating_the_walks_own_token() -> None:
    world = world_of(5, end="repeat")
    second = json.loads(world.page(TASK, 3))["more"]
    assert json.loads(world.page(TASK, 3, second)) == {"results": [3, 4], "more": second}


@pytest.mark.parametrize(
    ("field", "names"), [("more", ["more"]), ("nextCursor", ["nextCursor"]), ("both", ["more", "nextCursor"])]
)
def test_the_token_stands_in_the_chosen_field(field: str, names: list[str]) -> None:
    page = json.loads(world_of(5, token_field=field, page_extra=b'"took":3').page(TASK, 2))
    assert list(page) == ["results", *names, "took"]


def test_raw_elements_reach_the_page_to_the_letter() -> None:
    world = world_of(0)
    odd = [b'{"a":\xff}', b"null", b'"\\ud800"', b"[" * 2000 + b"]" * 2000, b' { "x" : 1.0 } ']
    world.logs[TASK].extend(odd)
    assert world.page(TASK) == b'{"results":[' + b",".join(odd) + b"]}"


def test_logs_are_edited_by_position() -> None:
    log = Log(TASK, [b"0", b"1", b"2"])
    log.insert(1, b"7", b"8")
    log.replace(0, b"9")
    assert log.remove(-1) == [b"2"]
    assert log.as_json() == b"[9,7,8,1]"


@pytest.mark.parametrize("limit", [0, -1, 1001, "x", "1.0", "", "٣"])
def test_a_bad_limit_is_refused_with_a_violation(limit: int | str) -> None:
    refusal = refusal_of(world_of(3), TASK, limit)
    assert refusal.status == 400
    assert refusal.violations[0].startswith("limit:")


def test_unknown_tasks_and_bad_ids_are_told_apart() -> None:
    assert refusal_of(world_of(3), OTHER).status == 404
    assert refusal_of(world_of(3), "nonsense").status == 400
    assert world_of(3).page(TASK.upper())


@pytest.mark.parametrize("token", ["", "garbled", "é", "AAAA", "MDpvOi0xOjAwMDAwMDAwOg"])
def test_a_garbled_token_is_refused(token: str) -> None:
    assert refusal_of(world_of(3), TASK, 25, token).status == 400


def test_a_token_of_another_task_or_order_is_refused() -> None:
    world = world_of(3)
    world.add(Log(OTHER))
    token = world.token_at(TASK, 1)
    assert refusal_of(world, OTHER, 25, token).status == 400
    world.order = "newest-first"
    assert refusal_of(world, TASK, 25, token).status == 400


def test_a_token_expires_by_the_clock_and_lives_on_when_given_out_again() -> None:
    clock = ManualClock()
    world = World(clock=clock, token_life=60.0)
    world.add(Log(TASK, [b"0", b"1"]))
    token = json.loads(world.page(TASK, 1))["more"]
    clock.advance(60)
    assert world.page(TASK, 1, token)
    clock.advance(1)
    assert refusal_of(world, TASK, 1, token).status == 400
    assert json.loads(world.page(TASK, 1))["more"] == token
    assert world.page(TASK, 1, token)


def test_revoked_tokens_are_refused_and_new_ones_are_not() -> None:
    world = world_of(5)
    old = world.token_at(TASK, 2)
    world.revoke_tokens()
    assert refusal_of(world, TASK, 2, old).status == 400
    assert walk(world, 2)[0] == [[0, 1], [2, 3], [4]]


def test_scripted_tokens_make_a_cycle() -> None:
    world = world_of(4)
    world.scripted_tokens[TASK] = lambda _asked, natural: natural or world.token_at(TASK, 0)
    first = json.loads(world.page(TASK, 2))["more"]
    second = json.loads(world.page(TASK, 2, first))["more"]
    assert json.loads(world.page(TASK, 2, second)) == {"results": [0, 1], "more": first}


def test_a_list_of_scripted_tokens_is_used_up_and_then_ends() -> None:
    world = world_of(4)
    world.scripted_tokens[TASK] = [world.token_at(TASK, 3)]
    assert walk(world, 2)[0] == [[0, 1], [3]]


def test_an_empty_page_has_a_new_token_that_goes_on_from_the_same_place() -> None:
    world = world_of(4)
    one, two = (world.read_empty(TASK, 2, world.token_at(TASK, 2)) for _ in range(2))
    assert one.body.startswith(b'{"results":[],"more":')
    assert len({one.next_token, two.next_token, world.token_at(TASK, 2)}) == 3
    assert json.loads(world.page(TASK, 2, one.next_token))["results"] == [2, 3]


def test_pages_and_events_are_counted_and_the_counters_reset() -> None:
    world = world_of(5)
    walk(world, 3)
    world.page(TASK, 3)
    counters = world.counters()
    assert counters["pages"] == {TASK: {"": 2, world.token_at(TASK, 3): 1}}
    assert counters["events_served"] == 8
    assert json.loads(json.dumps(counters)) == counters
    world.reset_counters()
    assert world.counters()["events_served"] == 0


@pytest.mark.parametrize(("answers", "added"), [(True, 2), (False, 1)])
def test_a_message_is_recorded_and_continues_the_log(answers: bool, added: int) -> None:
    world = world_of(3, answers=answers)
    world.send(SentMessage(task_id=TASK, message='say "hé"'))
    assert len(world.logs[TASK]) == 3 + added
    assert json.loads(world.logs[TASK].events[3])["data"] == {"type": "userMessage", "text": 'say "hé"'}
    assert world.counters()["messages"] == 1
