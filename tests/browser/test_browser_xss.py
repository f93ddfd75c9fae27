"""Does anything that an attacker can write run, or become a part of a page? Tried in a real browser.

On PostgreSQL without the pages' Content-Security-Policy, as nothing may rest on it; on SQLite with it.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from attacks import ATTACKS
from playwright.sync_api import expect
from shown_world import hostile_turn, make_hostile_world, open_database, store
from site_thread import SiteThread

from maia_sync.analytics.panels import read_panels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shown_world import HostileWorld
    from visitor import Visitor

ALWAYS_CUT = {number for number, attack in enumerate(ATTACKS) if len(attack) > 300}
"""Too long for a page to show to its end, where their marks stand."""
ALL = set(range(len(ATTACKS)))
REQUIRED_POLICY = "default-src 'none'"
ADDRESSES = (
    ("/", "window"),
    ("/", "since"),
    ("/tools", "window"),
    ("/errors", "until"),
    ("/sync", "window"),
    ("/tasks", "search"),
    ("/tasks", "state"),
    ("/tasks", "sort"),
    ("/tasks", "order"),
    ("/tasks", "page"),
    ("/panels/tools", "task"),
    ("/tasks/{task}", "after"),
    ("/tasks/{task}", "before"),
    ("/tasks/{task}", "seq"),
    ("/tasks/{task}", "group"),
    ("/tasks/{task}", "text"),
    ("/tasks/{task}/event", "group"),
    ("/tasks/{task}/event", "timestamp"),
    ("/tasks/{task}/quarantine", "before"),
    ("/tasks/{task}/payload", "revision"),
    ("/login", "next"),
)
"""Whatever an address can say: what is wrong with it is told on a page."""


@pytest.fixture(params=["sqlite", "postgresql"])
def hostile(request: pytest.FixtureRequest) -> tuple[str, HostileWorld]:
    """Return the URL of a database of attacks."""
    if request.param == "sqlite":
        url = str(request.getfixturevalue("sqlite_url"))
    else:
        plain = str(request.getfixturevalue("emptied_postgresql_database")())
        url = plain.replace("postgresql://", "postgresql+psycopg://", 1)
    return url, make_hostile_world(url)


def test_no_attack_becomes_a_part_of_a_page_or_of_a_report(
    hostile: tuple[str, HostileWorld], visitor_for: Callable[..., Visitor], report_of: Callable[[str], Path]
) -> None:
    url, world = hostile
    with_policy = url.startswith("sqlite")
    breaches: dict[str, list[str]] = {}
    with SiteThread(url) as site:
        visitor = visitor_for(site.url, bypass_csp=not with_policy)
        tour = _Tour(visitor, breaches, with_policy=with_policy)
        for name, part in PARTS.items():
            tour.seen.clear()
            part(tour, world)
            missing = ALL - ALWAYS_CUT - tour.seen if name in SHOW_ALL else set()
            assert not missing, f"{name}: these attacks are nowhere to be seen: {sorted(missing)}"
        live(tour, world, url)
    reported(visitor_for("", bypass_csp=not with_policy), report_of(url), breaches)
    told = [f"{where}: {each}" for where, found in breaches.items() for each in found[:3]]
    assert not told, "\n".join(told[:40])


class _Tour:
    """A visit to page after page, whose breaches are gathered."""

    def __init__(self, visitor: Visitor, breaches: dict[str, list[str]], *, with_policy: bool) -> None:
        self.visitor = visitor
        self.with_policy = with_policy
        self.seen: set[int] = set()
        self._breaches = breaches

    def go(self, address: str, *, status: int | None = 200) -> None:
        """Open a page and look at it."""
        response = self.visitor.open(address, status=status)
        assert REQUIRED_POLICY in response.headers["content-security-policy"]
        self.look(address)

    def turn_to(self, address: str, *, status: int | None = 200) -> None:
        """Look at a page without going there, where the policy of the open one does not count anyway."""
        if self.with_policy:
            self.go(address, status=status)
            return
        given, policy = self.visitor.write(address)
        assert status in (given, None), (address, given)
        assert REQUIRED_POLICY in policy
        self.look(address)

    def look(self, where: str) -> None:
        """Look at the page that is open."""
        found = self.visitor.escaped()
        found += self.visitor.troubles + [f"asks {each}" for each in self.visitor.elsewhere()]
        self.visitor.troubles.clear()
        self.visitor.requests.clear()
        if found:
            self._breaches[where[:160]] = found
        self.seen |= self.visitor.numbers()

    def go_on(self, address: str, *, most: int = 30) -> None:
        """Open a page and all that follow it."""
        self.go(address)
        for _ in range(most):
            following = self.visitor.page.locator("a[rel=next]")
            if following.count() == 0:
                return
            self.go(str(following.first.get_attribute("href")))
        raise AssertionError(f"{address}: there is no end of pages")


def overviews(tour: _Tour, world: HostileWorld) -> None:
    for address in ("/?window=all", "/sync"):
        tour.go(address)
    for address in ("/", "/tools", "/errors"):
        for since, until in zip(world.days[::2], world.days[1::2], strict=True):
            tour.turn_to(f"{address}?since={since}&until={until}")


def fragments(tour: _Tour, world: HostileWorld) -> None:
    for name in read_panels():
        tour.turn_to(f"/panels/{name}?since={world.days[3]}&until={world.days[3]}")


def lists(tour: _Tour, _world: HostileWorld) -> None:
    tour.go_on("/tasks")


def timelines(tour: _Tour, world: HostileWorld) -> None:
    for task in world.tasks:
        tour.go_on(f"/tasks/{task}?from=start")


def plain_timelines(tour: _Tour, world: HostileWorld) -> None:
    for task in world.tasks[5:]:  # where Markdown is
        tour.go(f"/tasks/{task}?from=start&text=plain")


def events(tour: _Tour, world: HostileWorld) -> None:
    for key in world.changed:
        tour.turn_to(f"/tasks/{key['task_id']}/event?{_name(key)}")


def _name(key: dict[str, Any]) -> str:
    return urlencode({"group": key["group_id"], "timestamp": key["timestamp"], "ordinal": key["ordinal"]})


def quarantine(tour: _Tour, world: HostileWorld) -> None:
    for task in world.tasks:
        tour.go_on(f"/tasks/{task}/quarantine")


def addresses(tour: _Tour, world: HostileWorld) -> None:
    sayable = [attack.encode("utf-8", "replace").decode() for attack in ATTACKS[:78]]
    for number, (path, name) in enumerate(ADDRESSES):
        some = sayable[number * 4 % 78 :][:8]
        tour.turn_to(f"{path.format(task=world.tasks[0])}?{urlencode({name: ' '.join(some)})}", status=None)
    for attack in sayable[::4]:
        tour.turn_to(f"/tasks?{urlencode({'search': attack})}", status=None)
    for attack in sayable[::13]:
        tour.turn_to("/tasks/" + urlencode({"": attack})[1:], status=404)


def downloads(tour: _Tour, world: HostileWorld) -> None:
    """What is raw is never shown by the browser itself, whatever it takes it for."""
    key = world.changed[0]
    links = tour.visitor.page.request
    quarantined = links.get(f"/tasks/{key['task_id']}/quarantine").text()
    element = re.search(r'href="(/tasks/[^"]+/quarantine/\d+)"', quarantined)
    assert element is not None
    for address in (
        f"/tasks/{key['task_id']}/payload?{_name(key)}",
        f"/tasks/{key['task_id']}/payload?{_name(key)}&revision=0",
        element[1],
        "/panels/tools.csv?window=all",
        "/panels/task-list.csv",
    ):
        answer = links.get(address)
        assert answer.status == 200, address
        assert answer.headers["content-disposition"].startswith("attachment"), address
        assert answer.headers["x-content-type-options"] == "nosniff", address
        assert "html" not in answer.headers["content-type"], address


PARTS: dict[str, Callable[[_Tour, HostileWorld], None]] = {
    "overviews": overviews,
    "fragments": fragments,
    "lists": lists,
    "timelines": timelines,
    "plain timelines": plain_timelines,
    "events": events,
    "quarantine": quarantine,
    "addresses": addresses,
    "downloads": downloads,
}
SHOW_ALL = ("overviews", "lists", "timelines", "events", "quarantine")


def live(tour: _Tour, world: HostileWorld, url: str) -> None:
    """Let attacks come while a timeline is open."""
    task = world.tasks[0]
    tour.go(f"/tasks/{task}")
    late = [f"{attack} came late" for attack in ATTACKS[:77:4]]
    came = [element for attack in late for element in hostile_turn(attack, "2026-11-30")]
    with closing(open_database(url)) as database, database.transaction() as tx:
        store(tx, task, came, after=1 << 40)
    expect(tour.visitor.page.locator("main")).to_contain_text("came late", timeout=60_000)
    tour.look("live")


def reported(visitor: Visitor, file: Path, breaches: dict[str, list[str]]) -> None:
    """Open a report as a file."""
    visitor.page.goto(file.as_uri())
    visitor.unfold()
    found = visitor.escaped(is_file=True) + visitor.troubles
    found += [f"asks {each}" for each in visitor.requests if each != file.as_uri()]
    breaches["report"] = found


def test_the_browser_sees_an_attack_that_gets_through(visitor_for: Callable[..., Visitor]) -> None:
    """The tests above can fail: written as it is where it breaks out, nearly every attack is seen."""
    visitor = visitor_for("http://127.0.0.1:9")
    frames = ("<main>{}</main>", '<main><p title="{}">x</p></main>', "<main><p title='{}'>x</p></main>")
    unseen = set()
    for number, attack in enumerate(ATTACKS[:48]):
        visitor.page.evaluate("() => { window.__xss = undefined; }")
        for frame in (*frames, "<main><p {}>x</p></main>", "<script>0</script><!--{}--><main></main>"):
            visitor.page.set_content(frame.format(attack), wait_until="commit")
            if visitor.escaped():
                break
        else:
            unseen.add(number)
    assert unseen <= {46}
