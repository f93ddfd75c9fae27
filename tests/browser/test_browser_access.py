"""Can everybody use the pages? axe finds nothing, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect
from shown_world import open_database
from site_thread import SiteThread
from sqlalchemy import select

from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page
    from shown_world import OrdinaryWorld
    from visitor import Visitor

Shown = tuple[SiteThread, "OrdinaryWorld", str]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
EVERYTHING = {"type": "tag", "values": STANDARDS}
LOOKS = {"type": "rule", "values": ("color-contrast", "scrollable-region-focusable", "target-size")}
"""What differs by width; all else is the same on a desk and on a phone."""
LOOKED_AT = (
    ("light", WIDE, EVERYTHING),
    ("dark", WIDE, EVERYTHING),
    ("light", NARROW, LOOKS),
    ("dark", NARROW, LOOKS),
)


def addresses(world: OrdinaryWorld, url: str) -> dict[str, int]:
    """Return one address of every kind of page, with its status."""
    with closing(open_database(url)) as database, database.transaction(write=False) as tx:
        changed = select(task_event).where(task_event.c.task_id == world.told, task_event.c.revision > 0)
        event = tx.connection.execute(changed).first()
    assert event is not None
    named = f"group={event.group_id}&timestamp={event.timestamp}&ordinal={event.ordinal}"
    there = ("/", "/?window=24h", "/tasks", "/tasks?search=nothing", "/tools", "/errors", "/sync")
    of_task = ("", f"/event?{named}", "/quarantine")
    return {
        **dict.fromkeys(there, 200),
        **dict.fromkeys((f"/tasks/{world.told}{each}" for each in of_task), 200),
        **dict.fromkeys((f"/tasks/{world.empty}", f"/tasks/{world.empty}/quarantine"), 200),
        "/nowhere": 404,
    }


def violations(page: Page, rules: dict[str, Any]) -> list[str]:
    """Return what axe finds on the page as it is."""
    options = json.dumps({"resultTypes": ["violations"], "runOnly": rules})
    found: dict[str, Any] = page.evaluate(f"axe.run({options})")
    return [
        f"{violation['id']}: {node['target']} {node['html'][:160]} {node['failureSummary'][:300]}"
        for violation in found["violations"]
        for node in violation["nodes"][:3]
    ]


def looked_at(page: Page, where: str) -> list[str]:
    """Look at a page in light and dark, on a desk and on a phone."""
    found = []
    page.evaluate(AXE_SCRIPT)
    for scheme, size, rules in LOOKED_AT:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        found += [f"{where} ({scheme}, {size['width']}): {each}" for each in violations(page, rules)]
    return found


@pytest.fixture(scope="module")
def report(modest: Shown, report_of: Callable[[str], Path]) -> Path:
    """Return a report about what is shown."""
    return report_of(modest[2])


def test_axe_finds_nothing_on_any_page(modest: Shown, visitor_for: Callable[..., Visitor]) -> None:
    site, world, url = modest
    visitor = visitor_for(site.url)
    found = []
    for address, status in addresses(world, url).items():
        visitor.open(address, status=status)
        found += looked_at(visitor.page, address)
    with SiteThread(url, token="t0ken") as guarded:
        visitor.open(f"{guarded.url}/login")
        found += looked_at(visitor.page, "/login")
        visitor.page.get_by_label("Token").fill("wrong")
        visitor.page.get_by_role("button", name="Log in").click()
        visitor.page.get_by_text("This is not the token.").wait_for()
        found += looked_at(visitor.page, "a failed login")
    assert not found, f"{len(found)} violations\n" + "\n".join(found[:30])


def test_axe_finds_nothing_in_a_report(report: Path, visitor_for: Callable[..., Visitor]) -> None:
    visitor = visitor_for("")
    visitor.page.goto(report.as_uri())
    visitor.unfold()
    found = looked_at(visitor.page, "report")
    assert not found, f"{len(found)} violations\n" + "\n".join(found[:30])


def test_a_report_asks_nobody_fits_a_phone_and_prints_without_its_navigation(
    report: Path, visitor_for: Callable[..., Visitor]
) -> None:
    visitor = visitor_for("", viewport={"width": 360, "height": 740})
    page = visitor.page
    page.goto(report.as_uri())
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    page.emulate_media(media="print")
    for each in page.locator("nav, .skip, .actions, .toolbar").all():
        expect(each).to_be_hidden()
    assert (visitor.requests, visitor.troubles) == ([report.as_uri()], [])
