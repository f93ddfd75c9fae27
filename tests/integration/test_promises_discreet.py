"""P9: does any secret get out, when upstream's answers quote them and all is logged?"""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from logs import BEARER, TASK, events, world_of

from maia_sync.errors import MaiaSyncError
from maia_sync.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Staging = Callable[..., Any]

PLAIN_TOKEN = "page-token-0123456789"
ODD_TOKEN = 'page/token+=&"é%41 #0123456789'


def spellings(secret: str) -> set[str]:
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}


def found_in(text: str, secrets: Iterable[str]) -> list[str]:
    return sorted({spelt for secret in secrets for spelt in spellings(secret) if spelt in text})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500, 503])
@pytest.mark.parametrize("token", [PLAIN_TOKEN, ODD_TOKEN], ids=["plain", "odd"])
def test_p9_no_secret_gets_out_when_a_problem_quotes_the_request(
    stage_for: Staging, caplog: pytest.LogCaptureFixture, status: int, token: str
) -> None:
    caplog.set_level(logging.DEBUG)
    world = world_of(events(25))
    stage = stage_for(world, api__page_size=10, api__retries=1)
    world.scripted_tokens[TASK] = lambda _, natural: token if natural else None
    quoted = " ".join(sorted(spellings(token))) + f" Authorization: Bearer {BEARER}"
    problem = {
        "type": f"https://x/{quote(token)}",
        "title": f"Bad {quoted}",
        "status": status,
        "detail": f"Refused: GET /messages?paginationToken={quote_plus(token)}&limit=10 {quoted}",
        "instance": quoted,
        "violations": [f"paginationToken: {token}", f"bearer: {BEARER}"],
    }
    world.faults.add(
        Fault(kind="status", status=status, count=None, after=1, body=json.dumps(problem).encode()),
        task_id=TASK,
    )
    told: list[str] = []
    try:
        report = stage.sync(observers=[lambda observation: told.append(repr(observation))])
        told.append(repr(report))
        assert report.failed == 1
    except MaiaSyncError as error:
        told += [repr(error), *traceback.format_exception(error)]
    assert stage.copy.task(TASK)["last_error"] or status == 401
    secrets = [token, BEARER]
    assert found_in("\n".join(told), secrets) == []
    assert found_in(stage.copy.everything(but=["checkpoint"]), secrets) == []
    assert found_in(caplog.text, secrets) == []
    assert found_in(repr(stage.copy.checkpoint(TASK)), [BEARER]) == []
    assert found_in(repr(stage.app.settings), secrets) == []


def test_p9_no_secret_is_logged_by_a_run_that_goes_well(
    stage_for: Staging, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = world_of(events(25))
    stage = stage_for(world, api__page_size=10)
    tokens = [world.token_at(TASK, position) for position in (10, 20)]
    report = stage.sync_well()
    assert found_in(caplog.text + repr(report), [*tokens, BEARER]) == []
    assert found_in(stage.copy.everything(but=["checkpoint"]), [*tokens, BEARER]) == []
    assert stage.copy.checkpoint(TASK)["page_token"] == tokens[1]
