"""Who has the token, or has shown it lately? Rules over headers and texts; nothing is read or sent here.

A browser that has shown the token gets a cookie with the moment at which it ends and a seal over that moment,
keyed by the token: whoever holds it does not hold the token, another token makes it void, and nothing is
kept on our side.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from starlette.requests import cookie_parser

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from maia_sync.settings import Secret

COOKIE: Final = "maia_sync"
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
_PURPOSE: Final = b"maia-sync cookie\0"
_COOKIE: Final = re.compile(r"([0-9]{1,11})\.([0-9a-f]{64})")
_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""One slash first: two, or a backslash behind it, would name another machine."""
_LONGEST_PATH: Final = 2000


def has_bearer(headers: Headers, token: Secret) -> bool:
    """Tell whether there is one Authorization header, and it bears the token."""
    given = headers.getlist("authorization")
    if len(given) != 1:
        return False
    scheme, _, text = given[0].partition(" ")
    # Headers come as Latin-1, which gives their bytes back: some of UTF-8's look like white space there.
    return _is_same(text.strip(" \t").encode("latin-1"), token) and scheme.lower() == "bearer"


def is_token(typed: str, token: Secret) -> bool:
    """Tell whether a text is the token, perhaps with white space around it, in a time that tells nothing."""
    return _is_same(typed.strip().encode("utf-8", "replace"), token)


def _is_same(given: bytes, token: Secret) -> bool:
    expected = token.reveal().encode()
    return hmac.compare_digest(given, expected) and expected != b""


def sealed(until: datetime, token: Secret) -> str:
    """Return the value of a cookie that is good until then."""
    moment = str(int(until.timestamp()))
    return f"{moment}.{_seal(moment, token)}"


def has_cookie(headers: Headers, token: Secret, *, now: datetime) -> bool:
    """Tell whether a cookie of ours that is still good came along."""
    return any(
        _is_good(cookie_parser(header).get(COOKIE, ""), token, now) for header in headers.getlist("cookie")
    )


def _is_good(cookie: str, token: Secret, now: datetime) -> bool:
    match = _COOKIE.fullmatch(cookie)
    if match is None or not hmac.compare_digest(match[2], _seal(match[1], token)):
        return False
    return now < datetime.fromtimestamp(int(match[1]), UTC)


def _seal(moment: str, token: Secret) -> str:
    return hmac.new(token.reveal().encode(), _PURPOSE + moment.encode(), hashlib.sha256).hexdigest()


def is_cross_site(headers: Headers) -> bool:
    """Tell whether a page of somebody else's made the browser send this; what is no browser says nothing.

    Browsers that see no secure connection leave Sec-Fetch-Site out, and have Origin.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    authority = origin.partition("://")[2].lower()
    return authority == "" or authority != headers.get("host", "").lower()


def local_path(text: str) -> str:
    """Return a path of ours to go to after a login, and `/` instead of anything that is none."""
    is_ours = len(text) <= _LONGEST_PATH and _LOCAL.fullmatch(text) is not None
    if not is_ours or text.partition("?")[0] in (LOGIN, LOGOUT):
        return "/"
    return text
