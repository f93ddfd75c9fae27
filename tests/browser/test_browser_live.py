"""Does what is new appear by itself, in its place, without moving what somebody reads?"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from logs import stamp
from playwright.sync_api import expect
from shown_world import STEP, open_database, revise, store, task_id
from site_thread import SiteThread

from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page, Route
    from visitor import Visitor

TASK = task_id(1)
A_WHILE = 31_000
"""Milliseconds after which a quiet page has asked again."""


class LiveTask:
    """A served task, whose log grows."""

    def __init__(self, url: str, visitor: Visitor) -> None:
        self._url = url
        self.visitor = visitor
        self.length = 0

    @property
    def page(self) -> Page:
        return self.visitor.page

    def grow(self, *groups: str) -> None:
        """Append an event for each of these groups; it says its number."""
        numbered = enumerate(groups, start=self.length)
        self.add(
            *((group, {"type": "agentMessage", "text": f"This is message {n}."}) for n, group in numbered)
        )

    def add(self, *events: tuple[str, dict[str, str]]) -> None:
        """Append events, each of a group."""
        elements = []
        for number, (group, data) in enumerate(events, start=self.length):
            told = {"data": data, "groupId": group, "timestamp": stamp(number)}
            elements.append(json.dumps(told).encode())
        with closing(open_database(self._url)) as database, database.transaction() as tx:
            upsert_tasks(tx, [TASK])
            store(tx, TASK, elements, after=self.length * STEP)
        self.length += len(events)

    def change(self, number: int) -> None:
        with closing(open_database(self._url)) as database, database.transaction() as tx:
            revise(tx, TASK, "earlier", like=f"message {number}.")

    def open(self) -> None:
        self.page.clock.install()
        self.visitor.open(f"/tasks/{TASK}")

    def wait(self) -> None:
        """Let the page ask for news, and read them."""
        with self.page.expect_response("**/news?*") as answer:
            self.page.clock.run_for(A_WHILE)
        assert answer.value.ok
        answer.value.finished()


@pytest.fixture
def live(migrated_sqlite: Path, tmp_path: Path, visitor_for: Callable[..., Visitor]) -> Iterator[LiveTask]:
    path = tmp_path / "live.db"
    shutil.copyfile(migrated_sqlite, path)
    with SiteThread(f"sqlite:///{path}") as site:
        yield LiveTask(f"sqlite:///{path}", visitor_for(site.url))


def test_new_events_go_on_with_their_turn_and_move_nothing(live: LiveTask) -> None:
    live.grow(*(["g"] * 60))
    live.open()
    before = live.page.evaluate("() => { window.scrollTo(0, 300); return window.scrollY; }")
    live.grow("g", "g", "h")
    live.wait()
    turns = live.page.locator("section.turn")
    expect(turns).to_have_count(2)
    expect(turns.first.locator("article")).to_have_count(62)
    expect(turns.first.locator("h2")).to_have_count(1)
    expect(turns.first.locator(".figures")).to_contain_text("62 events")
    expect(turns.last).to_contain_text("message 62")
    expect(live.page.locator("[aria-live=polite]")).to_contain_text("3 new events")
    assert live.page.evaluate("() => window.scrollY") == before
    assert live.page.evaluate(
        "() => new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
    ) == (live.page.locator("[id]").count())
    assert live.visitor.troubles == []


def test_whoever_reads_the_end_stays_at_the_end(live: LiveTask) -> None:
    live.page.emulate_media(reduced_motion="reduce")
    live.grow(*(["g"] * 60))
    live.open()
    live.page.evaluate("() => window.scrollTo(0, document.documentElement.scrollHeight)")
    live.grow(*(["g"] * 20))
    live.wait()
    expect(live.page.locator("article").last).to_be_in_viewport()
    expect(live.page.locator("article").last).to_contain_text("message 79")


def call(name: str) -> dict[str, str]:
    return {"type": "toolCall", "toolCallId": name, "toolName": f"tool-{name}"}


def answer_to(name: str) -> dict[str, str]:
    return {"type": "toolResult", "toolCallId": name, "result": f"result of {name}"}


def test_a_result_that_comes_later_goes_into_its_call_which_stays_as_it_was(live: LiveTask) -> None:
    live.add(("g", call("a")), ("g", call("b")))
    live.grow("h")
    live.page.clock.install()
    live.page.goto(f"/tasks/{TASK}")
    articles = live.page.locator("article")
    first, second = articles.nth(0), articles.nth(1)
    second.locator("summary").first.click()
    expect(second.locator("summary").first).to_be_focused()
    names = [each.get_attribute("id") for each in (first, second)]
    live.add(("g", answer_to("b")), ("g", answer_to("a")))
    live.wait()
    expect(first.locator(".result")).to_contain_text("result of a")
    expect(first.locator("details.call")).not_to_have_attribute("open", "")
    expect(second.locator(".result")).to_contain_text("result of b")
    expect(second.locator("details.call")).to_have_attribute("open", "")
    expect(second.locator("summary").first).to_be_focused()
    assert [each.get_attribute("id") for each in (first, second)] == names
    expect(articles).to_have_count(3)
    expect(live.page.locator("section.turn")).to_have_count(2)
    expect(live.page.get_by_text("no result yet")).to_have_count(0)
    expect(live.page.locator("[aria-live=polite]")).to_contain_text("2 new events")
    assert live.visitor.troubles == []


def test_a_result_whose_call_is_not_on_the_page_stands_by_itself(live: LiveTask) -> None:
    live.add(("g", call("a")))
    live.grow(*(["h"] * 120))
    live.open()
    live.add(("g", answer_to("a")))
    live.wait()
    last = live.page.locator("article").last
    expect(last).to_contain_text("result of a")
    expect(last.get_by_role("link", name="a call that stands elsewhere")).to_be_visible()
    expect(live.page.locator("[aria-live=polite]")).to_contain_text("1 new event")


def test_the_reader_can_pause_and_go_on_by_keyboard(live: LiveTask) -> None:
    live.grow("g")
    live.open()
    button = live.page.get_by_role("button", name="Pause new events")
    button.focus()
    live.page.keyboard.press("Enter")
    live.grow("g")
    live.visitor.requests.clear()
    live.page.clock.run_for(10 * A_WHILE)
    assert live.visitor.requests == []
    expect(live.page.locator("article")).to_have_count(1)
    live.page.get_by_role("button", name="Go on showing new events").press("Enter")
    live.page.clock.run_for(1000)
    expect(live.page.locator("article")).to_have_count(2)


def test_a_reader_is_told_when_earlier_events_have_changed(live: LiveTask) -> None:
    live.grow("g", "g")
    live.open()
    notice = live.page.get_by_text("Earlier events have changed")
    expect(notice).to_be_hidden()
    live.change(0)
    live.wait()
    expect(notice).to_be_visible()
    notice.get_by_role("link", name="reload").click()
    expect(live.page.get_by_text("changed upstream, revision 1")).to_be_visible()
    expect(notice).to_be_hidden()


def test_a_page_whose_server_is_gone_asks_less_often_and_offers_a_link(live: LiveTask) -> None:
    live.grow("g")
    live.open()
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    live.page.route("**/news?*", refuse)
    for _ in range(10):
        live.page.clock.run_for(6000)
        live.page.wait_for_timeout(100)  # a request that fails takes a moment outside of the page's clock
    assert 2 <= len(asked) <= 5
    expect(live.page.get_by_role("link", name="Show new events")).to_be_visible()
    live.page.unroute("**/news?*")
    live.grow("g")
    live.wait()
    expect(live.page.locator("article")).to_have_count(2)


def test_a_panel_that_was_not_ready_is_asked_for_until_it_is(live: LiveTask) -> None:
    pending = '<section class="panel" data-fragment="/panels/x">Working</section>'
    answers = [pending, "", '<section class="panel">Ready <script>window.__ran = 1</script></section>']

    def answer(route: Route) -> None:
        body = answers.pop(0)
        route.fulfill(status=200 if body else 503, content_type="text/html", body=body)

    live.page.clock.install()
    live.page.route("**/panels/x", answer)
    live.page.route(
        "**/started",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<!DOCTYPE html><script src="/static/live.js" defer></script><main>{pending}</main>',
        ),
    )
    live.page.goto("/started")
    for _ in range(3):
        with live.page.expect_response("**/panels/x"):
            live.page.clock.run_for(4000)
    expect(live.page.locator("main")).to_contain_text("Ready")
    assert live.page.evaluate("() => window.__ran") is None
    assert answers == []
