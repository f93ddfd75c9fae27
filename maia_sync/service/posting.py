"""How does a checkpoint of the archive get to a keeper elsewhere? One POST of its text.

Who knows the address may be able to write there, so that no message shows it, nor the host in it. A redirect
is not followed, and is a failure: it could carry the address elsewhere. An answer of 2xx is success.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from maia_sync.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.settings import Secret, Settings

DEADLINE = 30.0
"""Seconds that it may take, everything included."""
_MORE = 5.0
_WHOM = "the server of archive.anchor_url"


def poster_of(settings: Settings) -> Callable[[str], None] | None:
    """Return what posts a checkpoint to where the settings say; None if they name no address."""
    url = settings.archive.anchor_url
    return None if url is None else partial(post_checkpoint, url, ca_file=settings.api.ca_file)


def post_checkpoint(
    url: Secret, checkpoint: str, *, ca_file: Path | None, deadline: float = DEADLINE
) -> None:
    """Post a checkpoint, from whichever thread. Raises MaiaSyncError if it was not taken.

    `ca_file` is api.ca_file: whom we trust there, we trust here.
    """
    outcome: Future[int] = Future()

    def post() -> None:
        try:
            outcome.set_result(asyncio.run(_post(url, checkpoint, ca_file, deadline)))
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            outcome.set_exception(error)

    # In a thread of its own: here a loop may be running, and looking a host up may hang.
    threading.Thread(target=post, name="maia-sync-anchor", daemon=True).start()
    try:
        status = outcome.result(deadline + _MORE)
    except TimeoutError as error:
        raise ArchiveError(f"{_WHOM} does not answer") from error
    except OSError as error:  # the certificates could not be loaded
        reason = error.strerror or type(error).__name__
        raise ArchiveError(f"{_WHOM} cannot be asked: {reason} (see api.ca_file)") from error
    if not 200 <= status < 300:
        hint = ": redirects are not followed, set the final address" if 300 <= status < 400 else ""
        raise ArchiveError(f"{_WHOM} answered {status}{hint}")


async def _post(url: Secret, checkpoint: str, ca_file: Path | None, deadline: float) -> int:
    from maia_sync.maia.connection import open_http  # noqa: PLC0415 - httpx takes long to load

    http = open_http(url.reveal(), timeout=deadline, ca_file=ca_file)
    try:
        request = http.make_request("POST", text=checkpoint.encode())
        return (await http.ask(request, whom=_WHOM, deadline=deadline, whole=None)).status
    finally:
        await http.aclose()
