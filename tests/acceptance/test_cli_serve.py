"""Does `serve` show the copy over the database alone, and does `run` serve the same pages? Real processes."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from cli_folder import CliFolder, for_sandbox
from daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAVY = ("jinja2", "pygal", "markdown_it")
"""Libraries that only a page needs."""
BROWSER = {"Accept": "text/html"}
TASK = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def folder(tmp_path: Path, migrated_sqlite: Path) -> CliFolder:
    """A folder with a migrated database and no credentials."""
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    return CliFolder(tmp_path)


@contextmanager
def serving(folder: CliFolder, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    process = folder.start("serve", "--bind", "127.0.0.1:0", *arguments)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address, said
        with httpx.Client(base_url=address[0], headers=BROWSER, timeout=30) as http:
            yield process, http
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_pages_and_probes_without_credentials_until_it_is_told_to_stop(
    folder: CliFolder, number: signal.Signals
) -> None:
    with serving(folder) as (process, http):
        assert http.get("/healthz").json() == {"status": "alive", "reasons": []}
        assert http.get("/readyz").json() == {"status": "ready", "reasons": []}
        for path in ("/", "/tasks", "/tools", "/errors", "/sync"):
            page = http.get(path)
            assert page.status_code == 200, page.text
            assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert http.get("/metrics").status_code == 404
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        print(f"ended after {time.monotonic() - began:.2f} s")
        assert (process.returncode, out, err) == (128 + number, "", "")


def test_a_copy_is_late_by_the_bound_that_is_configured(folder: CliFolder) -> None:
    folder.variables["MAIA_SYNC_SCHEDULE__MAX_LAG"] = "17m"
    with serving(folder) as (_, http):
        columns, row = http.get("/panels/freshness.csv").text.splitlines()
        assert dict(zip(columns.split(","), row.split(","), strict=True))["max_lag_seconds"] == "1020.0"


def test_a_connection_that_is_kept_open_does_not_keep_it(folder: CliFolder) -> None:
    with serving(folder) as (process, http):
        port = http.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"GET / HTTP/1.1\r\nHost: local")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 143


def test_with_a_token_it_asks_for_it(folder: CliFolder) -> None:
    (folder.path / "token").write_text("t0ken\n", encoding="utf-8")
    folder.variables["MAIA_SYNC_WEB__TOKEN_FILE"] = str(folder.path / "token")
    with serving(folder) as (_, http):
        assert http.get("/").headers["location"] == "/login?next=/"
        assert http.post("/login", data={"token": "t0ken"}).status_code == 303
        assert http.get("/").status_code == 200


def test_a_database_that_goes_away_is_told_and_comes_back(folder: CliFolder) -> None:
    database = folder.path / "maia_sync.db"
    with serving(folder) as (_, http):
        aside = database.rename(folder.path / "aside.db")
        gone = http.get(f"/tasks/{TASK}")
        assert gone.status_code == 503
        assert gone.headers["content-type"] == "text/html; charset=utf-8"
        aside.rename(database)
        assert http.get(f"/tasks/{TASK}").status_code == 404


def test_what_keeps_it_from_serving_is_one_sentence(folder: CliFolder, tmp_path: Path) -> None:
    refused = folder.run("serve", "--bind", "0.0.0.0:0")
    assert (refused.code, refused.is_one_clear_sentence()) == (3, True), refused
    assert "web.token_file" in refused.err
    (tmp_path / "empty").mkdir()
    absent = CliFolder(tmp_path / "empty").run("serve", "--bind", "127.0.0.1:0")
    assert (absent.code, absent.is_one_clear_sentence()) == (5, True), absent
    assert "maia-sync init" in absent.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = folder.run_apart("serve", "--bind", address)
    assert (done.code, done.is_one_clear_sentence()) == (3, True), done
    assert "in use" in done.err


def test_the_daemon_serves_the_same_pages(folder: CliFolder, one_authority: Path) -> None:
    variables = for_sandbox(folder.path, "http://127.0.0.1:1", one_authority).variables
    with Daemon(CliFolder(folder.path, **variables)) as daemon:
        address = re.search(r"http://127\.0\.0\.1:\d+", daemon.wait_for("started")["message"])
        assert address
        with httpx.Client(base_url=address[0], headers=BROWSER, timeout=30) as http:
            for path in ("/", "/tasks", "/metrics", "/healthz", "/readyz"):
                assert http.get(path).status_code == 200, path
            daemon.send(signal.SIGHUP)
            again = daemon.wait_for("reloaded")["message"]
        address = re.search(r"http://127\.0\.0\.1:\d+", again)
        assert address
        assert httpx.get(f"{address[0]}/tasks", headers=BROWSER, timeout=30).status_code == 200
        assert daemon.end()[0] == 143


def test_what_pages_are_made_of_is_loaded_by_who_shows_one(folder: CliFolder) -> None:
    code = (
        "import sys\nimport maia_sync.serving\nfrom maia_sync.cli.main import run\n"
        "run(['status'])\nrun(['tasks'])\n"
        f"print(set({HEAVY}) & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder.path,
        env=folder.variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1:] == ["set()"], done
