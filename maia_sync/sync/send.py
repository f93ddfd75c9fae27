"""What becomes of a message that is sent? One POST, at most once, and a row that says so.

A POST is not idempotent. So the row is there, as `unknown`, before the request can leave, and stays so
unless an answer says otherwise; only what was certainly not processed is repeated (see
`MaiaClient.post_message`).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from maia_sync.errors import (
    DatabaseError,
    GiveUpTask,
    MaiaSyncError,
    NotConnected,
    OperatorMustAct,
    OutcomeUnknown,
    RequestRefused,
    RetriesExhausted,
    SignInFailed,
    UsageError,
)
from maia_sync.maia.wire import encode_message
from maia_sync.store.sent import complete_sent_message, insert_sent_message, track_sent_task

if TYPE_CHECKING:
    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import OutgoingMessage, SendOutcome, SentMessage
    from maia_sync.store.database import Database
    from maia_sync.sync.handover import Handover


_NOT_KNOWN = "whether the message was taken in is not known"


def require_sendable(message: OutgoingMessage) -> None:
    """Refuse what the API would not take in, before anything is sent or noted. Raises UsageError."""
    if not message.message.strip():
        raise UsageError("the message is empty")
    if message.mode not in (None, "PLAN", "ACT"):
        raise UsageError("the mode is neither PLAN nor ACT")
    for name, text in (("agent", message.agent), ("branch", message.branch)):
        if text is not None and not text.strip():
            raise UsageError(f"the name of the {name} is empty")
    if any(not tool.strip() for tool in message.allowed_tools):
        raise UsageError("the name of a tool to allow is empty")
    encode_message(message)


class Sending:
    """One message to one task; `run()` once."""

    def __init__(self, *, client: MaiaClient, database: Database, handover: Handover, sent_by: str) -> None:
        self._client = client
        self._database = database
        self._handover = handover
        self._sent_by = sent_by

    async def run(self, task_id: str, message: OutgoingMessage, stop: asyncio.Future[int]) -> SentMessage:
        """Send a message, or until `stop` is given the number of a signal; then nobody knows of it.

        Raises UsageError if it cannot be sent, before anything is noted, and what the database raises.
        """
        request = encode_message(message).decode()
        sent: SentMessage = await self._handover.run(partial(self._note, task_id, request), surely=True)
        outcome, error = await self._post(task_id, message, stop)
        try:
            return await self._handover.run(partial(self._complete, sent, outcome, error), surely=True)
        except MaiaSyncError as failure:
            raise DatabaseError(
                f"the outcome of message {sent.id} is {outcome}, but that could not be noted: {failure}"
            ) from failure

    def _note(self, task_id: str, request: str) -> SentMessage:
        with self._database.transaction(durable=True) as tx:
            return insert_sent_message(tx, task_id=task_id, sent_by=self._sent_by, request=request)

    async def _post(
        self, task_id: str, message: OutgoingMessage, stop: asyncio.Future[int]
    ) -> tuple[SendOutcome, MaiaSyncError | None]:
        if stop.done():
            return "refused", RequestRefused("interrupted before it was sent")
        posting = asyncio.ensure_future(self._client.post_message(task_id, message))
        awaited: list[asyncio.Future[Any]] = [posting, stop]
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not posting.done():
                posting.cancel()
                await asyncio.gather(posting, return_exceptions=True)
        if posting.cancelled():
            return "unknown", OutcomeUnknown(f"{_NOT_KNOWN}: interrupted before an answer came")
        error = posting.exception()
        if error is None:
            return "accepted", None
        if isinstance(error, GiveUpTask | OperatorMustAct):  # the latter: no token could be had
            return "refused", error
        if isinstance(error, OutcomeUnknown):
            return "unknown", error
        return "unknown", OutcomeUnknown(
            f"{_NOT_KNOWN}: an unforeseen {type(error).__name__} came in between"
        )

    def _complete(self, sent: SentMessage, outcome: SendOutcome, error: MaiaSyncError | None) -> SentMessage:
        sentence = None if error is None else str(error)
        with self._database.transaction() as tx:
            complete_sent_message(tx, sent.id, outcome, sentence)
            tracked = outcome != "refused" and track_sent_task(tx, sent.task_id)
            return msgspec.structs.replace(
                sent,
                outcome=outcome,
                completed_at=None if outcome == "unknown" else tx.now,
                error=sentence,
                error_kind=None if error is None else type(error).__name__,
                newly_tracked=tracked,
                unreachable=isinstance(error, RetriesExhausted)
                and isinstance(error.__cause__, NotConnected | SignInFailed),
            )
