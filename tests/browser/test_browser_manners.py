"""Do the pages behave? They ask nobody else, are never heavy, and need neither scripts nor a mouse."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from shown_world import open_database, store
from site_thread import SiteThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shown_world import OrdinaryWorld
    from visitor import Visitor

MOST_BYTES = 500_000
Ordinary = tuple[SiteThread, "OrdinaryWorld", str]


def addresses(world: OrdinaryWorld) -> Iterator[str]:
    yield from ("/", "/tasks", "/tools", "/errors?window=30d", "/sync", f"/tasks/{world.told}/quarantine")
    for task in (world.told, world.long, world.large):
        yield from (f"/tasks/{task}", f"/tasks/{task}?from=start")


def test_no_page_asks_elsewhere_is_heavy_or_wider_than_a_phone(
    ordinary: Ordinary, visitor_for: Callable[..., Visitor]
) -> None:
    site, world, _ = ordinary
    visitor = visitor_for(site.url, viewport={"width": 360, "height": 740})
    breaches = []
    for address in addresses(world):
        visitor.requests.clear()
        size = len(visitor.open(address).body())
        if size >= MOST_BYTES:
            breaches.append(f"{address} has {size} bytes")
        width = visitor.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if width > 0:
            breaches.append(f"{address} is {width} pixels too wide")
        breaches += [f"{address} asks {url}" for url in visitor.elsewhere()]
        breaches += [f"{address}: {trouble}" for trouble in visitor.troubles]
        visitor.troubles.clear()
        print(address, size)
    assert not breaches, "\n".join(breaches)


def test_pages_work_without_scripts(ordinary: Ordinary, visitor_for: Callable[..., Visitor]) -> None:
    site, world, _ = ordinary
    visitor = visitor_for(site.url, java_script_enabled=False)
    page = visitor.page
    page.goto("/")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Tasks").click()
    expect(page).to_have_url(f"{site.url}/tasks")
    page.locator("a[rel=next]").first.click()
    expect(page).not_to_have_url(f"{site.url}/tasks")
    page.goto("/tasks")
    page.get_by_role("searchbox").fill("orders")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Orders, every morning").first.click()
    expect(page).to_have_url(f"{site.url}/tasks/{world.told}")
    call = page.locator("details.call").first
    call.locator("summary").first.click()
    expect(call).to_have_attribute("open", "")
    page.locator("a[rel=prev]").first.click()
    expect(page).to_have_url(re.compile(r"\?before="))
    assert visitor.elsewhere() == []


def test_a_keyboard_is_enough(ordinary: Ordinary, visitor_for: Callable[..., Visitor]) -> None:
    site, world, _ = ordinary
    visitor = visitor_for(site.url)
    page = visitor.page
    visitor.open(f"/tasks/{world.told}")
    page.keyboard.press("Tab")
    skip = page.locator("a.skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    unseen = []
    visitor.open("/")
    for _ in range(25):
        page.keyboard.press("Tab")
        told = page.evaluate(
            """() => {
              const each = document.activeElement, style = getComputedStyle(each);
              const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
              const isInside = !each.matches(':focus');  // on a button of the browser's own, in a date
              return [each.outerHTML.slice(0, 80), isInside || outlined];
            }"""
        )
        if not told[1]:
            unseen.append(told[0])
    assert unseen == []


def test_what_is_new_comes_to_an_open_timeline_by_itself(
    ordinary: Ordinary, visitor_for: Callable[..., Visitor]
) -> None:
    site, world, url = ordinary
    visitor = visitor_for(site.url)
    visitor.open(f"/tasks/{world.empty}")
    main = visitor.page.locator("main")
    for number, said in enumerate(("The first that it says.", "And one more thing.")):
        data = {"type": "message", "role": "assistant", "text": said}
        moment = datetime(2026, 1, 5, 8, number, tzinfo=UTC).isoformat()
        element = json.dumps({"data": data, "groupId": "g", "timestamp": moment}).encode()
        with closing(open_database(url)) as database, database.transaction() as tx:
            store(tx, world.empty, [element], after=number << 20)
        expect(main).to_contain_text(said, timeout=60_000)
    assert (visitor.troubles, visitor.elsewhere()) == ([], [])


@pytest.mark.parametrize("name", ["127.0.0.1", "maia-sync.example"], ids=["here", "without TLS"])
def test_a_person_logs_in_sees_the_page_and_leaves(
    ordinary: Ordinary, visitor_for: Callable[..., Visitor], name: str
) -> None:
    """Where a browser sees no secure connection, it says less of where a form comes from."""
    _, world, url = ordinary
    with SiteThread(url, token="t0ken") as site:
        visitor = visitor_for(site.url.replace("127.0.0.1", name))
        page = visitor.page
        page.goto(f"/tasks/{world.told}?from=start")
        assert page.url.startswith(f"{visitor.site_url}/login?next=")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("t0ken")
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{visitor.site_url}/tasks/{world.told}?from=start")
        assert page.evaluate("() => document.cookie") == ""
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(f"{visitor.site_url}/login")
        page.goto("/tasks")
        expect(page).to_have_url(f"{visitor.site_url}/login?next=/tasks")
        assert visitor.troubles == []
