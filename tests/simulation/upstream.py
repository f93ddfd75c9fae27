"""How does the API of a simulated life answer? Logs that change, pages, tokens, and every fault.

Behind httpx's transport seam; one object for all processes. It knows nothing of the code under test.
"""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import timedelta
from email.utils import format_datetime
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx
import msgspec

from tests.oracle import Told, tell
from tests.simulation.elements import Element, make_element

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.simulation.story import Change, Fault, FaultKind, Setting

ORIGIN = "https://maia.example"
TOKEN_URL = f"{ORIGIN}/oauth/dpc/token"
_STATUS: dict[str, int] = {
    "status_403": 403,
    "status_404": 404,
    "status_400": 400,
    "status_410": 410,
    "status_418": 418,
    "status_500": 500,
    "status_502": 502,
    "status_503": 503,
    "status_504": 504,
    "status_401": 401,
}
_BODIES: dict[str, bytes] = {
    "garbage": b'{"results":[{"data":1},{"dat',
    "html": b"<!doctype html><title>Sign in</title>",
    "not_a_page": b'{"result":"fine"}',
    "empty_body": b"",
}


class Item(msgspec.Struct, eq=False):
    """An element in its place; what it is may change."""

    element: Element
    raw: bytes
    told: Told | None


class Log:
    """One task's log upstream, oldest first."""

    def __init__(self, task_id: str, setting: Setting) -> None:
        self.task_id = task_id
        self.items: list[Item] = []
        self.version = 0
        self.only_grew = True
        """It was appended to and nothing else."""
        self.orderly = True
        """No event stands in two places, has moved, or is met in a place that is not its own.

        The last is so where events come or go and tokens name places: what a poll meets behind its token may
        then stand in front of what it met there before, and no poll can tell.
        """
        self.touched: list[tuple[int, Any]] = []
        """Which key was touched by an edit, a removal or a move, and at which version."""
        self._odd = setting.odd
        self._is_anchored = setting.tokens == "anchor" and not setting.overlap
        self._payload = 0
        self._second = 0

    def change(self, change: Change) -> None:
        """Let the log change as the story says."""
        random = Random(change.seed)
        self.version += 1
        if not self.items:
            self._put(len(self.items), self._new(random, change.count))
            return
        if change.kind != "append":
            self.only_grew = False
        if change.kind in ("remove", "lose_early"):
            self._is_anchored = False  # a token whose element is gone names a place
        if change.kind not in ("append", "respell") and not self._is_anchored:
            self.orderly = False
        at = random.randrange(len(self.items))
        match change.kind:
            case "append":
                self._put(len(self.items), self._new(random, change.count))
            case "insert":
                self._put(at, self._new(random, change.count))
            case "front":
                self._put(0, self._new(random, change.count))
            case "edit":
                for item in random.sample(self.items, min(change.count, len(self.items))):
                    self._edit(item, item.element.edited(self._next_payload()))
            case "respell":
                for item in random.sample(self.items, min(change.count, len(self.items))):
                    self._edit(item, item.element.respelt())
            case "remove":
                self._remove(at, at + (1 if random.random() < 0.7 else change.count))
            case "lose_early":
                self._remove(0, min(change.count, len(self.items) // 2))
            case "reorder":
                self._reorder(random)
            case "twin":
                twin = msgspec.structs.replace(self.items[at].element, payload=self._next_payload())
                self._put(at + random.randrange(2), [twin])
            case "repeat":
                self.orderly = False
                self._put(random.randrange(len(self.items) + 1), [self.items[at].element.respelt()])

    def _put(self, at: int, elements: list[Element]) -> None:
        self.items[at:at] = [_item(element) for element in elements]

    def _new(self, random: Random, count: int) -> list[Element]:
        made = []
        for _ in range(count):
            if random.random() < 0.8:
                self._second += 1
            made.append(make_element(random, self._next_payload(), self._second, odd=self._odd))
        return made

    def _next_payload(self) -> int:
        self._payload += 1
        return self._payload

    def _edit(self, item: Item, element: Element) -> None:
        self._touch(item)
        item.element, item.raw = element, element.raw()
        item.told = tell(item.raw)
        self._touch(item)

    def _remove(self, start: int, end: int) -> None:
        for item in self.items[start:end]:
            self._touch(item)
        del self.items[start:end]

    def _reorder(self, random: Random) -> None:
        self.orderly = False
        start = random.randrange(len(self.items))
        part = self.items[start : start + 4]
        random.shuffle(part)
        for item in part:
            self._touch(item)
        self.items[start : start + 4] = part

    def _touch(self, item: Item) -> None:
        if item.told is not None:
            self.touched.append((self.version, (item.told.group_id, item.told.timestamp)))

    @property
    def is_all_events(self) -> bool:
        """Tell whether there are events, and nothing that is none."""
        return bool(self.items) and all(item.told is not None for item in self.items)

    def touched_since(self, version: int) -> set[Any]:
        """Return the keys that were touched after this version."""
        return {key for at, key in self.touched if at > version}


def _item(element: Element) -> Item:
    raw = element.raw()
    return Item(element=element, raw=raw, told=tell(raw))


class Served(msgspec.Struct, frozen=True, eq=False):
    """One page as it was served."""

    task_id: str
    token: str | None
    next_token: str | None
    elements: tuple[bytes, ...]
    version: int
    """The log's."""


class Upstream:
    """The API: logs, tokens, access tokens; answers requests, and acts out faults."""

    def __init__(self, setting: Setting, now: Callable[[], Any]) -> None:
        self.setting = setting
        names = [f"{number:08d}-1111-4111-8111-111111111111" for number in range(1, setting.tasks + 1)]
        self.logs = {name: Log(name, setting) for name in names}
        self.honest = False
        """From now on nothing is ragged, and stored tokens hold."""
        self.requests = 0
        self.asked: Counter[str] = Counter()
        """Requests of each task."""
        self._now = now
        self._tokens: dict[str, tuple[int, Item | None]] = {}
        self._serial = 0
        self._epoch = 0
        self._access = 0
        """Access tokens so far, each with its number."""
        self._revoked = 0
        """Up to which they are void: one that is given takes none from another process."""

    def log(self, number: int) -> Log:
        """Return the log of the n-th task."""
        return list(self.logs.values())[number]

    def answer(self, request: httpx.Request, fault: Fault | None) -> tuple[httpx.Response, Served | None]:
        """Answer one request; with the page, if a whole one was served. Raises httpx's transport errors."""
        if str(request.url) == TOKEN_URL:
            self._access += 1
            return httpx.Response(200, json={"access_token": f"a{self._access}", "expires_in": 1800}), None
        self.requests += 1
        self.asked[request.url.path.split("/")[-2]] += 1
        kind = fault.kind if fault else None
        if kind == "expire_tokens":
            self._epoch += 1
        if kind == "revoke_access":
            self._revoked = self._access
        if (
            self.setting.signs_in
            and int(request.headers["Authorization"].removeprefix("Bearer a")) <= self._revoked
        ):
            return _problem(401), None
        if kind is not None and (broken := self._broken(request, kind)) is not None:
            return broken, None
        return self._page(request, fault)

    def _broken(self, request: httpx.Request, kind: FaultKind) -> httpx.Response | None:
        """Return the answer that the fault is; None if there is a page in it."""
        if kind == "unconnected":
            raise httpx.ConnectError("refused", request=request)
        if kind == "reset":
            raise httpx.ReadError("reset", request=request)
        if kind == "read_timeout":
            raise httpx.ReadTimeout("nothing came", request=request)
        if kind in _STATUS:
            return _problem(_STATUS[kind])
        if kind in _BODIES:
            return httpx.Response(200, content=_BODIES[kind])
        if kind == "redirect":
            return httpx.Response(302, headers={"Location": "https://elsewhere.example/"})
        if kind == "bad_gzip":
            return httpx.Response(
                200, headers={"Content-Encoding": "gzip"}, stream=_Bytes(gzip.compress(b"{}")[:-9])
            )
        if kind == "zstd":
            return httpx.Response(
                200, headers={"Content-Encoding": "zstd"}, stream=_Bytes(b"\x28\xb5\x2f\xfd")
            )
        if kind == "flood":
            return httpx.Response(200, headers={"Content-Length": str(1 << 40)}, stream=_Bytes(b" "))
        if kind.startswith("status_429"):
            date = format_datetime(self._now() + timedelta(seconds=90), usegmt=True)
            later = {"status_429": "0", "status_429_later": "7", "status_429_date": date}[kind]
            return _problem(429, {"Retry-After": later})
        return None

    def _page(self, request: httpx.Request, fault: Fault | None) -> tuple[httpx.Response, Served | None]:
        task_id = request.url.path.split("/")[-2]
        asked = {
            name: values[0]
            for name, values in parse_qs(request.url.query.decode(), keep_blank_values=True).items()
        }
        token = asked.get("paginationToken")
        found = self._place(token, task_id)
        if found is None:
            return _problem(400), None
        kind = fault.kind if fault else None
        log = self._shown(task_id)
        start = max(0, found - (self.setting.overlap if token is not None else 0))
        end = min(found + self._size(int(asked["limit"]), fault), len(log))
        items = log[start:end]
        if kind == "empty_page":  # which leads on: under its own token it would be the end
            return self._empty(task_id, token, found)
        following = self._following(task_id, token, log, end, is_full=len(items) >= int(asked["limit"]))
        if kind == "cycle" and len(items) >= int(asked["limit"]):  # less under its own token would be the end
            following = token or following
        served = Served(
            task_id, token, following, tuple(item.raw for item in items), self.logs[task_id].version
        )
        body = self._body(served)
        if kind == "cut":
            return httpx.Response(200, stream=_Bytes(body[: len(body) // 2], broken=request)), None
        if self.setting.packed:
            return httpx.Response(
                200, headers={"Content-Encoding": "gzip"}, stream=_Bytes(gzip.compress(body))
            ), served
        return httpx.Response(200, content=body), served

    def _empty(self, task_id: str, token: str | None, found: int) -> tuple[httpx.Response, Served]:
        self._serial += 1
        following = f"{self._epoch}-s{self._serial}"
        log = self._shown(task_id)
        self._tokens[following] = found, log[found - 1] if self.setting.tokens == "anchor" and found else None
        served = Served(task_id, token, following, (), self.logs[task_id].version)
        return httpx.Response(200, content=self._body(served)), served

    def _shown(self, task_id: str) -> list[Item]:
        items = self.logs[task_id].items
        return items if self.setting.served == "oldest-first" else items[::-1]

    def _size(self, limit: int, fault: Fault | None) -> int:
        if fault is not None and fault.kind == "one_event":
            return 1
        if self.setting.ragged and not self.honest:
            return Random(self.requests * 7919 + limit).randint(1, limit)
        return limit

    def _following(
        self, task_id: str, token: str | None, log: list[Item], end: int, *, is_full: bool
    ) -> str | None:
        if end < len(log):
            return self._make_token(log, end)
        if self.setting.last == "own" and token is not None and not is_full:
            return token
        if self.setting.last in ("own", "trailing"):
            if token is not None and self._place(token, task_id) == end:
                return token
            return self._make_token(log, end)
        return None

    def _make_token(self, log: list[Item], end: int) -> str:
        if self.setting.tokens == "place":
            return f"{self._epoch}-{end}"
        self._serial += 1
        token = f"{self._epoch}-s{self._serial}"
        anchor = log[end - 1] if self.setting.tokens == "anchor" and end else None
        self._tokens[token] = end, anchor
        return token

    def _place(self, token: str | None, task_id: str) -> int | None:
        """Return where in the log as it is shown a token leads; None if it is refused."""
        if token is None:
            return 0
        epoch, _, rest = token.partition("-")
        if not epoch.isdigit() or int(epoch) != self._epoch:
            return None
        if not rest.startswith("s"):
            return min(int(rest), len(self.logs[task_id].items))
        end, anchor = self._tokens[token]
        log = self._shown(task_id)
        if anchor is not None and anchor in log:
            return log.index(anchor) + 1
        return min(end, len(log))

    def _body(self, served: Served) -> bytes:
        following = served.next_token
        tail = b""
        if following is not None:
            tail = f',"{self.setting.more}":"{following}"'.encode()
        elif self.setting.last in ("null", "empty"):
            tail = f',"{self.setting.more}":{"null" if self.setting.last == "null" else _EMPTY}'.encode()
        return b'{"results":[' + b",".join(served.elements) + b"]" + tail + b"}"


_EMPTY = '""'


def _problem(status: int, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"title": "A fault of the story", "status": status})


class _Bytes(httpx.AsyncByteStream):
    """A body as it is, never unpacked; it may break off."""

    def __init__(self, body: bytes, broken: httpx.Request | None = None) -> None:
        self._body = body
        self._broken = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        if self._broken is not None:
            raise httpx.ReadError("reset", request=self._broken)
