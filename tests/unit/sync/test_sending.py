"""Which outcome follows from which end of a request, and is the row there, on disk, before it begins?"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK
from oracle import Copy
from sqlalchemy import event

from maia_sync.errors import (
    ConfigError,
    CredentialsRefused,
    MaiaSyncError,
    NotConnected,
    OutcomeUnknown,
    RequestRefused,
    RetriesExhausted,
    SignInFailed,
    TaskForbidden,
    TaskMissing,
    TooManyRequests,
)
from maia_sync.model import OutgoingMessage, SentMessage
from maia_sync.sync.handover import InlineHandover
from maia_sync.sync.send import Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.store.database import Database

WORDS = "what the message says"


class Client:
    """Stands in for MaiaClient: ends a request as it is told, never if it is told nothing."""

    def __init__(self, ending: Callable[[], None] | None) -> None:
        self._ending = ending
        self.begun = asyncio.Event()
        self.sent = 0

    async def post_message(self, _task_id: str, _message: OutgoingMessage) -> None:
        self.sent += 1
        self.begun.set()
        if self._ending is None:
            await asyncio.Event().wait()
        else:
            self._ending()


def sending(database: Database, client: Client) -> Sending:
    stub: Any = client
    return Sending(client=stub, database=database, handover=InlineHandover(), sent_by="me@here")


def send(database: Database, client: Client) -> SentMessage:
    async def scenario() -> SentMessage:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        return await sending(database, client).run(TASK, OutgoingMessage(message=WORDS), stop)

    return asyncio.run(scenario())


def row(database_url: str) -> tuple[Any, ...]:
    (found,) = Copy(database_url).ask("SELECT outcome, completed_at IS NULL, error FROM sent_message")
    return found


def raising(error: Exception, cause: Exception | None = None) -> Callable[[], None]:
    def end() -> None:
        raise error from cause

    return end


def exhausted(cause: MaiaSyncError) -> Callable[[], None]:
    return raising(RetriesExhausted(f"{cause} (asked 3 times)"), cause)


@pytest.mark.parametrize(
    ("ending", "outcome", "unreachable"),
    [
        (lambda: None, "accepted", False),
        (raising(TaskForbidden("no")), "refused", False),
        (raising(TaskMissing("no")), "refused", False),
        (raising(RequestRefused("no")), "refused", False),
        (raising(CredentialsRefused("no")), "refused", False),
        (raising(ConfigError(["the token's file is gone"])), "refused", False),
        (exhausted(TooManyRequests("busy")), "refused", False),
        (exhausted(NotConnected("nobody there")), "refused", True),
        (exhausted(SignInFailed("nobody there", unconnected=True)), "refused", True),
        (raising(OutcomeUnknown("who knows")), "unknown", False),
        (raising(RuntimeError(WORDS)), "unknown", False),
        (raising(asyncio.CancelledError()), "unknown", False),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_end_has_its_outcome(
    database: Database, database_url: str, ending: Callable[[], None], outcome: str, unreachable: bool
) -> None:
    sent = send(database, Client(ending))
    assert (sent.outcome, sent.unreachable, sent.newly_tracked) == (
        outcome,
        unreachable,
        outcome != "refused",
    )
    told, open_end, error = row(database_url)
    assert (told, bool(open_end)) == (outcome, outcome == "unknown")
    assert error == sent.error
    assert (error is None) == (outcome == "accepted")
    assert WORDS not in (error or "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_request_begins_keeps_it_from_being_sent(
    database: Database, database_url: str, number: int
) -> None:
    client = Client(lambda: None)

    async def scenario() -> SentMessage:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stop.set_result(number)
        return await sending(database, client).run(TASK, OutgoingMessage(message=WORDS), stop)

    assert (asyncio.run(scenario()).outcome, client.sent) == ("refused", 0)
    assert row(database_url)[0] == "refused"


@pytest.mark.parametrize("how", ["signal", "cancelled"])
def test_what_is_interrupted_while_it_is_out_stays_unknown(
    database: Database, database_url: str, how: str
) -> None:
    async def scenario() -> None:
        client = Client(None)
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        run = asyncio.create_task(sending(database, client).run(TASK, OutgoingMessage(message=WORDS), stop))
        await client.begun.wait()
        if how == "signal":
            stop.set_result(signal.SIGTERM)
            assert (await run).outcome == "unknown"
            return
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(scenario())
    assert tuple(map(bool, row(database_url)[:2])) == (True, True)
    assert row(database_url)[0] == "unknown"


def test_the_row_is_committed_durably_before_the_request_begins(
    database: Database, database_url: str
) -> None:
    told: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: told.append(sql))
    event.listen(database.engine, "commit", lambda _: told.append("COMMIT"))

    def look() -> None:
        assert row(database_url)[0] == "unknown"
        told.append("POST")

    assert send(database, Client(look)).outcome == "accepted"
    steps = [step.partition(" (")[0] for step in told]
    print(steps)
    durable = "SET LOCAL synchronous_commit = on" if database.is_postgresql else "PRAGMA synchronous = FULL"
    wanted = [durable, "INSERT INTO sent_message", "COMMIT", "POST"]
    assert [step for step in steps[: steps.index("POST") + 1] if step in wanted] == wanted
