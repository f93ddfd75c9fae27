"""Where does a test get a browser, and what does it look at? The system's Chromium, without a head.

A module has one browser: while Playwright's is open, no other test can run an event loop in this thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from playwright.sync_api import expect, sync_playwright
from shown_world import make_ordinary_world
from site_thread import SiteThread
from visitor import Visitor

from maia_sync.cli.main import run as run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from shown_world import OrdinaryWorld

expect.set_options(timeout=30_000)  # other tests may keep the machine busy
ELSEWHERE = "maia-sync.example"
"""A name of this machine that the browser takes for another's."""
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a running Chromium; the test skips where none is installed."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: looked for {', '.join(CHROMIUMS)}")
    # Chromium's own sandbox cannot be had as root; the pages here are ours.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    arguments.append(f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visitor_for(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Return a function that makes a visitor of a site, with a clean browser of their own."""
    visitors: list[Visitor] = []

    def visitor_for(url: str, **settings: object) -> Visitor:
        visitors.append(Visitor(browser, url, **settings))
        return visitors[-1]

    yield visitor_for
    for visitor in visitors:
        visitor.leave()


Shown = tuple[SiteThread, "OrdinaryWorld", str]
"""A served site, what it shows, and the URL of its database."""


@pytest.fixture(scope="module")
def ordinary(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Serve a full world."""
    yield from _shown(migrated_sqlite, tmp_path_factory.mktemp("shown"), full=True)


@pytest.fixture(scope="module")
def modest(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Serve a world with a little of everything, for who looks at each element."""
    yield from _shown(migrated_sqlite, tmp_path_factory.mktemp("shown"), full=False)


def _shown(migrated: Path, folder: Path, *, full: bool) -> Iterator[Shown]:
    shutil.copyfile(migrated, folder / "shown.db")
    url = f"sqlite:///{folder / 'shown.db'}"
    world = make_ordinary_world(url, full=full)
    with SiteThread(url) as site:
        yield site, world, url


@pytest.fixture(scope="module")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a report about a database, as the command does."""

    def report_of(url: str) -> Path:
        file = tmp_path_factory.mktemp("report") / "report.html"
        command = ["report", "--since", "90d", "--output", str(file)]
        with contextlib.chdir(file.parent), mock.patch.dict(os.environ, {"MAIA_SYNC_DATABASE__URL": url}):
            assert run_command(command) == 0
        return file

    return report_of
