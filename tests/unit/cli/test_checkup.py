from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from logs import events, world_of

from maia_sync.cli.checkup import (
    Finding,
    check_api,
    check_credentials,
    judge_clock,
    judge_status,
    worst_exit_code,
)
from maia_sync.sandbox.faults import OAUTH, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    Opening = Callable[..., Any]

SECRET = "client-s3cret"


@pytest.mark.parametrize(
    ("status", "level", "code"),
    [
        (200, "ok", 0),
        (403, "ok", 0),
        (404, "ok", 0),
        (401, "problem", 4),
        (429, "warning", 0),
        (503, "warning", 0),
        (500, "problem", 6),
        (302, "problem", 6),
    ],
)
def test_an_answer_tells_of_the_api_and_the_token(status: int, level: str, code: int) -> None:
    finding = judge_status(status, "https://api.example")
    assert (finding.level, finding.exit_code) == (level, code)


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, "ok"), (59, "ok"), (-59, "ok"), (61, "warning"), (-3600, "warning")]
)
def test_a_clock_that_is_more_than_a_minute_off_is_a_warning(seconds: int, level: str) -> None:
    assert judge_clock(timedelta(seconds=seconds)).level == level


def test_the_first_problem_gives_the_exit_code() -> None:
    warning = Finding(check="a", level="warning", found="", exit_code=0)
    first = Finding(check="b", level="problem", found="", exit_code=5)
    second = Finding(check="c", level="problem", found="", exit_code=6)
    assert worst_exit_code([warning]) == 0
    assert worst_exit_code([warning, first, second]) == 5


@pytest.fixture
def signing_in_app(serve: Any, environ_for: Any, sqlite_url: str, cleanup: Any) -> Opening:
    """Return a function that opens an App which signs in as an API client, at a sandbox of its own."""
    from maia_sync.app import open_app
    from maia_sync.config import load_settings

    def opened(*faults: Fault, **settings: object) -> Any:
        world = world_of(events(5))
        world.faults.add(*faults, task_id=OAUTH)
        server = serve(world)
        settings = {"auth__client_secret": SECRET, **settings}
        given = {"auth__client_id": "me", "auth__token_url": f"{server.url}/oauth/dpc/token", **settings}
        environ = environ_for(server.url, sqlite_url, **given)
        del environ["MAIA_SYNC_AUTH__TOKEN"]
        return cleanup.enter_context(open_app(load_settings(environ=environ)))

    return opened


def test_an_api_client_signs_in_for_the_check_of_the_api(signing_in_app: Opening) -> None:
    app = signing_in_app()
    assert check_credentials(app).level == "ok"
    assert {finding.level for finding in check_api(app)} == {"ok"}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(kind="status", status=401, count=None), 4),
        (Fault(kind="status", status=502, count=None), 6),
        (Fault(kind="reset", count=None), 6),
        (Fault(kind="garbage", count=None), 6),
    ],
)
def test_a_sign_in_that_fails_is_a_problem_that_names_its_address(
    signing_in_app: Opening, fault: Fault, code: int
) -> None:
    app = signing_in_app(fault)
    assert check_credentials(app).level == "ok"
    (finding,) = check_api(app)
    assert (finding.level, finding.exit_code) == ("problem", code)
    assert "/oauth/dpc/token" in str(finding.mend)
    assert SECRET not in repr(finding)


def test_a_client_secret_that_cannot_be_read_is_a_problem_of_the_configuration(
    signing_in_app: Opening, tmp_path: Any
) -> None:
    missing = tmp_path / "missing"
    app = signing_in_app(auth__client_secret="", auth__client_secret_file=missing)
    finding = check_credentials(app)
    assert (finding.level, finding.exit_code) == ("problem", 3)
    assert str(missing) in finding.found
