"""How does a dead-man's switch elsewhere hear that all is well? One GET of an address of its own.

Who knows the address can feign our heartbeat, so that no message shows it, nor the host in it. A
redirect is not followed, and is a failure: it could carry the address elsewhere. An answer of 2xx is
success, whatever it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from maia_sync.errors import MaiaSyncError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from maia_sync.maia.connection import Connections
    from maia_sync.settings import Secret

DEADLINE = 10.0
"""Seconds that a ping may take, everything included."""
_WHOM = "the server of schedule.heartbeat_url"


class Pinger:
    """Pings one address; keeps its connection. An async context manager.

    `ca_file` is api.ca_file: whom we trust there, we trust here.
    """

    def __init__(self, url: Secret, *, ca_file: Path | None, deadline: float = DEADLINE) -> None:
        self._url = url
        self._ca_file = ca_file
        self._deadline = deadline
        self._http: Connections | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def ping(self) -> str | None:
        """Ping once. Returns None, or a sentence for a warning; it raises nothing."""
        try:
            http = self._open()
            request = http.make_request("GET")
            answer = await http.ask(request, whom=_WHOM, deadline=self._deadline, whole=None)
        except MaiaSyncError as error:
            return str(error)
        except OSError as error:  # the certificates could not be loaded
            return f"{_WHOM} cannot be asked: {error.strerror or type(error).__name__} (see api.ca_file)"
        if 200 <= answer.status < 300:
            return None
        if 300 <= answer.status < 400:
            return f"{_WHOM} answered {answer.status}: redirects are not followed, set the final address"
        return f"{_WHOM} answered {answer.status}"

    def _open(self) -> Connections:
        if self._http is None:
            from maia_sync.maia.connection import open_http  # noqa: PLC0415 - httpx takes long to load

            self._http = open_http(self._url.reveal(), timeout=self._deadline, ca_file=self._ca_file)
        return self._http
