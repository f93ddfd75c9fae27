"""What does an answer other than the one hoped for mean? An error, branched by what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.errors import (
    CredentialsRefused,
    GiveUpTask,
    RequestRefused,
    RetryLater,
    TaskForbidden,
    TaskMissing,
    TokenRefused,
    TooManyRequests,
    UpstreamBusy,
    UpstreamFault,
    UpstreamTimedOut,
)
from maia_sync.maia.problem import explain_problem

if TYPE_CHECKING:
    from maia_sync.maia.connection import Answer

_REFUSED_TOKEN = (400, 410, 414, 422)
"""The contract names 400; the others say the same of a page token."""


def refusal_of(  # noqa: PLR0911 - one return per kind of answer
    answer: Answer, *, retry_after: float | None, page_token: str | None = None, deed: str = "read"
) -> GiveUpTask | RetryLater | CredentialsRefused:
    """Return the error that an answer is; `deed` is what was to be done with the task."""
    status = answer.status
    location = answer.headers.get("Location", "")
    said = explain_problem(answer.body, secrets=(page_token or "", answer.bearer.reveal(), location))
    if status == 401:
        return CredentialsRefused(f"the API refused the credentials (401){said}: check [auth]")
    if status == 403:
        return TaskForbidden(f"the credentials may not {deed} this task (403){said}")
    if status == 404:
        return TaskMissing(f"the API knows no such task (404){said}")
    if status == 429:
        return TooManyRequests(f"the API is busy (429){said}", retry_after=retry_after)
    if status >= 500:
        return _fault(status, said, retry_after)
    if status in _REFUSED_TOKEN and page_token is not None:
        return TokenRefused(f"the API refused the page token ({status}){said}")
    if status == 400:
        return RequestRefused(f"the API refused the request (400){said}")
    if 300 <= status < 400:
        return RequestRefused(
            f"the API answered with a redirect ({status}), which is not followed, as the token would go"
            f" along: check api.base_url{said}"
        )
    return RequestRefused(f"the API gave an answer that the contract does not know ({status}){said}")


def _fault(status: int, said: str, retry_after: float | None) -> RetryLater:
    if status == 503:
        return UpstreamBusy(f"the API is busy (503){said}", retry_after=retry_after)
    kind = UpstreamTimedOut if status == 504 else UpstreamFault
    return kind(f"the API failed ({status}){said}")
