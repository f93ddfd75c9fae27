"""Does a task's page show its log as a conversation: whole, bounded and inert, however odd the log is?"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from logs import TASK, event, stamp, world_of
from page_check import Checked
from starlette.applications import Starlette

from maia_sync.clock import SystemClock
from maia_sync.sandbox.oddities import STORABLE, UNSTORABLE
from maia_sync.store.asking import ReadingDatabase
from maia_sync.web import timeline
from maia_sync.web.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import Stage

MOST_BYTES = 500_000
HERE = f"/tasks/{TASK}"


@dataclass
class Pages:
    """The pages over the test's database."""

    app: Starlette
    database: ReadingDatabase

    def get(self, address: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.get(address)

        return asyncio.run(ask())

    def look(self, address: str = HERE, status: int = 200) -> Checked:
        """Return a page, which must be a good one."""
        answer = self.get(address)
        assert answer.status_code == status, answer.text[:2000]
        assert len(answer.content) < MOST_BYTES
        return Checked(answer.text)

    def news(self, after: str) -> dict[str, Any]:
        answer = self.get(f"{HERE}/news?after={after}")
        assert answer.status_code == 200
        told: dict[str, Any] = answer.json()
        Checked(told["html"])
        return told

    def cursor(self, address: str = HERE) -> str:
        """Return the cursor with which a page asks for news."""
        found = re.search(r'data-after="([^"]+)"', self.get(address).text)
        assert found
        return found[1]


@pytest.fixture
def pages(database_url: str) -> Iterator[Pages]:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    clock = SystemClock()
    database = ReadingDatabase(url=url, clock=clock)
    site = Site(database=database, zone=ZoneInfo("UTC"), clock=clock)
    yield Pages(Starlette(routes=timeline.routes(site)), database)
    database.close()


@pytest.fixture
def stored(stage_for: Callable[..., Stage]) -> Callable[[Iterable[bytes]], Stage]:
    """Return a function that stores a log."""

    def store(elements: Iterable[bytes]) -> Stage:
        stage = stage_for(world_of(elements))
        stage.sync()
        return stage

    return store


def element(number: int, data: object, group: str = "g") -> bytes:
    """Return an event with any payload and group."""
    told = data if isinstance(data, str) else json.dumps(data)
    return f'{{"data":{told},"groupId":{json.dumps(group)},"timestamp":"{stamp(number)}"}}'.encode()


def link(page: Checked, words: str) -> str:
    """Return the first link whose address has these words in it."""
    return next(each for each in page.links if words in each)


# ------------------------------------------------------------------ a conversation


def test_a_turn_is_told_with_its_messages_calls_and_results(pages: Pages, stored: Any) -> None:
    stored(
        [
            element(
                0, {"type": "userMessage", "userId": "u1", "userName": "Ana", "text": "Please **load** it"}
            ),
            element(1, {"type": "plan", "agentName": "eng", "steps": [{"title": "Look", "status": "done"}]}),
            element(
                2, '{"type":"toolCall","toolCallId":"c1","toolName":"run_sql","arguments":{"limit":1.50}}'
            ),
            element(3, {"type": "agentMessage", "agentName": "eng", "text": "I look"}),
            element(4, {"type": "toolResult", "toolCallId": "c1", "durationMs": 850, "result": "42 rows"}),
            element(5, {"type": "error", "errorType": "TIMEOUT", "message": "It took too long"}),
            element(6, {"type": "usage", "inputTokens": 12345, "outputTokens": 7, "costUsd": 0.0123}),
            element(7, {"type": "taskStatus", "status": "completed"}),
        ]
    )
    page = pages.look()
    for words in ("Ana", "u1", "load", "Look", "done", "run_sql", '"limit": 1.50', "850 ms", "42 rows"):
        assert words in page.text, words
    used = "12,345 tokens in · 7 out · cost 0.0123"
    for words in ("It took too long", "TIMEOUT", used, "completed", "1 tool call"):
        assert words in page.text, words
    assert page.classes.count("event") == 7  # the result is folded into its call
    assert "ok" in page.text
    assert page.headings == ["h1", "h2"]
    assert {f"seq-{n << 20}" for n in range(1, 9)} <= set(page.ids)
    assert "Please load it" in page.text
    assert "Please load it" not in pages.look(f"{HERE}?text=plain").text


def test_a_result_without_its_call_at_hand_leads_to_it(pages: Pages, stored: Any) -> None:
    calls = [element(0, {"type": "toolCall", "toolCallId": "c1", "toolName": "slow"}, "a")]
    calls += [element(1, {"type": "toolCall", "toolName": "bare"}, "b")]
    between = [element(n, {"type": "agentMessage", "text": f"m{n}"}, "c") for n in range(2, 120)]
    results = [element(120, {"type": "toolResult", "toolCallId": "c1", "result": "late"}, "a")]
    results += [element(121, {"type": "toolResult", "result": "late too"}, "b")]
    results += [element(122, {"type": "toolResult", "toolCallId": "nobody", "result": "?"}, "b")]
    stored(calls + between + results)
    newest = pages.look()
    assert newest.text.count("a call that stands elsewhere") == 2
    assert "There is no call to this result" in newest.text
    assert f"{HERE}?seq={1 << 20}#seq-{1 << 20}" in newest.links
    first = pages.look(f"{HERE}?from=start")
    assert first.text.count("Its result") == 2
    assert "slow" in pages.look(link(newest, f"seq={1 << 20}").partition("#")[0]).text


def test_a_result_below_a_vanished_call_says_so_and_leads_there(pages: Pages, stored: Any) -> None:
    stage = stored(
        [
            element(0, {"type": "agentMessage", "text": "m"}),
            element(1, {"type": "toolCall", "toolCallId": "c1", "toolName": "gone"}),
            element(2, {"type": "toolResult", "toolCallId": "c1", "result": "left over"}),
            *(event(n) for n in range(3, 30)),
        ]
    )
    stage.world.logs[TASK].remove(1)
    stage.sync(full=True)
    page = pages.look()
    assert "Its call has vanished" in page.text
    assert "There is no call to this result" not in page.text
    assert f"{HERE}?seq={2 << 20}#seq-{2 << 20}" in page.links


def test_a_call_is_one_line_until_it_is_opened(pages: Pages, stored: Any) -> None:
    call = {"type": "toolCall", "toolCallId": "c1", "toolName": "run_sql"}
    sql = "SELECT <1>,\n    2\nFROM  t " + "x" * 80
    result = {"type": "toolResult", "toolCallId": "c1", "toolName": "run_sql", "status": "succeeded"}
    result |= {"durationMs": 850, "rowCount": 42, "diff": "- a\n+ b"}
    stored(
        [
            element(0, {**call, "arguments": {"limit": 5, "sql": sql}}),
            element(1, result),
            element(2, {"type": "toolCall", "toolCallId": "c2", "toolName": "silent"}),
        ]
    )
    html = pages.get(HERE).text
    summary = re.search(r"<summary><bdi class=.tool-name.*?</summary>", html, re.DOTALL)
    assert summary
    preview = re.search(r'<span class="preview"><bdi>(.*?)</bdi></span>', summary[0])
    assert preview
    assert preview[1].startswith("SELECT &lt;1&gt;, 2 FROM t xxx")
    assert preview[1].endswith("…")
    assert "850 ms" in summary[0]
    assert "ok" in summary[0]
    assert html.count('<span class="who visually-hidden">Tool call</span>') == 2
    assert html.count('class="event tool slim"') == 2
    page = pages.look()
    assert sql in page.text
    assert "- a\n+ b" in page.text
    opened = html[html.index('<div class="result"') :]
    shown = opened[: opened.index('<details class="source"')]
    for name in ("toolCallId", "toolName", "succeeded", "durationMs", "toolResult"):
        assert name not in shown
    assert "&#34;rowCount&#34;: 42" in shown
    assert page.text.count("Raw JSON") == 3
    assert '"durationMs": 850' in page.text


def test_every_event_is_met_once_in_order_going_either_way(pages: Pages, stored: Any) -> None:
    stored([event(n, f"<{n}>", group=f"g{n // 30}") for n in range(250)])
    everything = [f"<{n}>" for n in range(250)]

    def walk(address: str, words: str) -> list[list[str]]:
        found = []
        while address:
            page = pages.look(address)
            found.append(re.findall(r"<\d+>", page.text))
            address = page.pager.get(words, "")
        return found

    def once(stretches: list[list[str]]) -> list[str]:
        return [each for stretch in stretches for each in dict.fromkeys(stretch)]

    assert once(walk(f"{HERE}?from=start", "next")) == everything
    assert once(walk(HERE, "prev")[::-1]) == everything
    page = pages.look(f"{HERE}?seq={100 << 20}")
    assert "<99>" in page.text
    assert "<98>" not in page.text
    assert "target" in page.classes
    assert "continued" in page.text
    turn = pages.look(f"{HERE}?group=g2")
    assert "<60>" in turn.text
    assert "<59>" not in turn.text


def test_rows_that_share_a_seq_are_told_once_and_have_no_id_twice(pages: Pages, stored: Any) -> None:
    stage = stored([event(0), event(1)])
    for number in range(2, 40):
        stage.world.logs[TASK].insert(1, event(number))
        stage.sync_well(full=True)
    page = pages.look()
    assert page.classes.count("event") == 40


def test_a_log_without_events_says_what_to_expect(pages: Pages, stored: Any) -> None:
    stored([])
    page = pages.look()
    assert "There are no events yet" in page.text
    assert pages.news(pages.cursor())["count"] == 0


def test_the_head_of_a_task_tells_its_state_and_leads_to_the_end(pages: Pages, stored: Any) -> None:
    stored([event(n) for n in range(150)])
    html = pages.get(HERE).text
    head = html[html.index('<p class="lead">') : html.index("</p>", html.index('<p class="lead">'))]
    assert '<span class="mark good">active</span>' in head
    assert f"<code>{TASK}</code>" in head
    assert re.search(
        r'polled <time title="[^"]+, [\d:]+" datetime="[^"]+Z">(just now|[\d.]+ s ago)</time>', head
    )
    assert "#end" in pages.look().links
    first = pages.look(f"{HERE}?from=start")
    assert "To the newest event" not in first.text


def test_the_page_of_an_event_tells_its_moment_to_the_letter(pages: Pages, stored: Any) -> None:
    stored([event(n) for n in range(3)])
    page = pages.look(link(pages.look(f"{HERE}?seq={2 << 20}"), "/event?"))
    assert "5 Jan 2026, 08:00:01.250" in page.text
    assert "one member a line; the download is to the letter" in page.text
    assert page.text.count("Previous event") == page.text.count("Next event") == 2


# ------------------------------------------------------------------ marks


def test_what_vanished_or_changed_is_marked_and_what_is_quarantined_is_told(
    pages: Pages, stored: Any
) -> None:
    stage = stored([event(n) for n in range(30)] + [b'{"data":"\xff\x00<b>"}', *UNSTORABLE.values()])
    log = stage.world.logs[TASK]
    log.replace(3, event(3, "as it is now"))
    log.remove(5)
    stage.sync(full=True)
    page = pages.look()
    assert "vanished" in page.classes
    assert "changed" in page.classes
    assert "changed upstream, revision 1" in page.text
    assert "vanished, noticed" in page.text
    assert "removed:" in page.text
    kept = len(UNSTORABLE) + 1
    assert f"{kept} elements of this log could not be stored as events" in page.text
    changed = pages.look(link(page, "#revisions").partition("#")[0])
    assert "From revision 0 to 1" in changed.text
    assert "as it was" in changed.text
    quarantine = pages.look(f"{HERE}/quarantine")
    assert r"\xff" in quarantine.text
    assert quarantine.headings.count("h2") == kept
    assert "Found " in quarantine.text
    assert re.search(r"<h2><bdi>[A-Z].*element 1</span></h2>", pages.get(f"{HERE}/quarantine").text)
    raw = pages.get(link(quarantine, "quarantine/1"))
    assert raw.headers["content-disposition"].startswith("attachment")
    assert raw.content in {b'{"data":"\xff\x00<b>"}', *UNSTORABLE.values()}


def test_a_result_that_changed_is_marked_on_its_call_and_tells_what_changed(
    pages: Pages, stored: Any
) -> None:
    def result(said: str) -> bytes:
        return element(1, {"type": "toolResult", "toolCallId": "c1", "result": said})

    stage = stored([element(0, {"type": "toolCall", "toolCallId": "c1", "toolName": "t"}), result("before")])
    assert "slim" in pages.look().classes
    stage.world.logs[TASK].replace(1, result("after"))
    stage.sync(full=True)
    page = pages.look()
    html = pages.get(HERE).text
    assert '<span class="mark warn">changed upstream</span>' in html.partition("</summary>")[0]
    assert "changed" in page.classes
    assert "slim" not in page.classes
    inside = html[html.index('<div class="result"') : html.index("</div>\n</details>")]
    assert "changed upstream, revision 1" in inside
    assert "What changed last" in inside
    assert '<span class="part">before</span>' in inside


def test_a_payload_is_handed_out_to_the_letter(pages: Pages, stored: Any) -> None:
    stored([*STORABLE.values()])
    page = pages.look()
    found = []
    for address in dict.fromkeys(each for each in page.links if "/event?" in each):
        shown = pages.look(address.partition("#")[0])
        assert "digest" in shown.text
        answer = pages.get(address.replace("/event?", "/payload?"))
        if answer.status_code == 200:
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-disposition"].startswith("attachment")
            found.append(answer.text)
    assert {
        '{"n":123456789012345678901234567890.10e+400}',
        '{"a":-0,"b":1.500,"c":1E5}',
        '{"a":1,"a":2}',
    } <= set(found)
    assert r'{"text":"broken \ud83d emoji"}' in found


def test_the_page_of_an_event_that_changed_often_and_much_stays_small(pages: Pages, stored: Any) -> None:
    def version(number: int) -> bytes:
        numbers = [(7 * each + number * each) % 10 for each in range(10_000)]
        return element(0, {"n": numbers, "said": ['"'] * 3000, "text": "<b>" * 10_000 + str(number)})

    stage = stored([version(0)])
    for number in range(1, 9):
        stage.world.logs[TASK].replace(0, version(number))
        stage.sync_well(full=True)
    page = pages.look(link(pages.look(), "/event?").partition("#")[0])
    assert "From revision 7 to 8" in page.text
    assert "earlier revisions are not shown" in page.text
    first = pages.get(link(page, "/payload?") + "&revision=0")
    assert f'"data":{first.text},' in version(0).decode()
    assert pages.get(link(page, "/payload?") + "&revision=99").status_code == 404


# ------------------------------------------------------------------ new events


def test_new_events_come_by_themselves_and_changes_are_told(pages: Pages, stored: Any) -> None:
    stage = stored([event(n, f"<{n}>") for n in range(20)])
    log = stage.world.logs[TASK]
    quiet = pages.news(pages.cursor())
    assert (quiet["count"], quiet["changed"], quiet["html"].strip()) == (0, False, "")
    log.extend([event(20, "<20>"), event(21, "<21>", group="h")])
    stage.sync_well()
    told = pages.news(quiet["after"])
    assert (told["count"], told["changed"], told["more"]) == (2, False, False)
    assert re.findall(r"&lt;\d+&gt;", told["html"])[0] == "&lt;20&gt;"
    assert "data-continued" in told["html"]
    log.insert(3, event(900, "late"))
    stage.sync_well(full=True)
    assert pages.news(told["after"])["changed"]
    fresh = pages.cursor()
    assert not pages.news(fresh)["changed"]
    log.replace(4, event(3, "other"))
    stage.sync_well(full=True)
    assert pages.news(fresh)["changed"]
    fresh = pages.cursor()
    log.remove(7)
    stage.sync_well(full=True)
    assert pages.news(fresh) == pages.news(fresh)
    assert pages.news(fresh)["changed"]


def test_a_result_that_comes_later_brings_its_call_anew(pages: Pages, stored: Any) -> None:
    calls = [element(0, {"type": "toolCall", "toolCallId": "c1", "toolName": "slow"})]
    calls += [element(1, {"type": "toolCall", "toolName": "bare"})]
    stage = stored([*calls, element(2, {"type": "agentMessage", "text": "m"})])
    log = stage.world.logs[TASK]
    cursor = pages.cursor()
    assert pages.look().text.count("no result yet") == 2
    assert pages.news(cursor)["answered"].strip() == ""
    log.extend([element(3, {"type": "toolResult", "toolCallId": "c1", "durationMs": 850, "result": "late"})])
    stage.sync_well()
    told = pages.news(cursor)
    assert told["count"] == 1
    assert "a call that stands elsewhere" in told["html"]
    answered = Checked(told["answered"])
    assert answered.classes.count("event") == answered.classes.count("result") == 1
    assert answered.ids == []
    for words in ("slow", "late", "850 ms"):
        assert words in answered.text
    assert "no result yet" not in answered.text
    log.extend([element(4, {"type": "toolResult", "result": "of the bare one"})])
    log.extend([element(5, {"type": "toolResult", "toolCallId": "c1", "result": "once more"})])
    stage.sync_well()
    answered = Checked(pages.news(told["after"])["answered"])
    assert answered.classes.count("event") == 1
    assert "of the bare one" in answered.text
    for address in (HERE, f"{HERE}?text=plain"):
        assert "no result yet" not in pages.look(address).text


def test_an_address_that_names_nothing_is_answered_by_a_sentence(pages: Pages, stored: Any) -> None:
    stored([event(0)])
    other = "/tasks/99999999-1111-4111-8111-111111111111"
    missing = (
        other,
        "/tasks/x",
        f"{HERE}?group=nobody",
        f"{HERE}?group=%00",
        f"{HERE}/event?timestamp=1",
        f"{HERE}/quarantine/7",
        f"{HERE}/payload?timestamp=1",
        f"{other}/quarantine",
        f"{other}/news?after=W251bGwsWzAsMCwwXV0",
    )
    for address in missing:
        assert "not" in pages.look(address, 404).text or "no such" in pages.look(address, 404).text
    bad = (
        "after=x",
        "before=%FF",
        "after=W10",
        "seq=1e3",
        "seq=99999999999999999999",
        "before=bnVsbA",
        "seq=",
        "after=" + "A" * 9000,
    )
    for query in bad:
        pages.look(f"{HERE}?{query}", 400)
    pages.look(f"{HERE}/event?timestamp=x", 400)
    pages.look(f"{HERE}/event?group=g&timestamp=1&ordinal=99999999999", 404)
    pages.look(f"{HERE}/news?after=x", 400)
    assert "no events in this stretch" in pages.look(f"{HERE}?seq={2**62}").text


# ------------------------------------------------------------------ hostile logs

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</pre><b>",
    "</textarea><script>1</script>",
    "</title><script>",
    "javascript:alert(1)",
    "[x](javascript:alert(1))",
    "[google.com](https://evil.example/)",
    "![x](https://evil.example/x.png)",
    "<https://a.example>",
    "\u202egnp.exe",
    "\x1b[2J\x1b]0;x\x07",
    "a\u200bb",
    "{{ 7777*7 }}",
    "{% raw %}",
    "&lt;script&gt;",
    "data:text/html,<script>",
    "[x](data:text/html,x)",
    "<!--",
    "-->",
    "<![CDATA[",
    "`<b>`",
    "|<b>|\n|-|\n|<i>|",
    '```x" onclick="y\n<b>\n```',
    "&#8238;x&#0;&#27;",
    "[a]: javascript:x\n[a]",
    "[x](//evil.example)",
    '[x](https://a.example/"onclick=x)',
    "%00%0d%0a",
    "../../x",
    "?a=b&c=d#e",
    "\U000e0041",
    "\ufeff",
    "x" * 300,
)


def test_hostile_text_stays_text_wherever_it_stands(pages: Pages, stored: Any) -> None:
    elements = []
    for number, text in enumerate(HOSTILE):
        for at, data in enumerate(
            (
                {"type": "userMessage", "text": text, "userId": text, "userName": text},
                {"type": "toolCall", "toolName": text, "toolCallId": text, "arguments": {text: text}},
                {
                    "type": "toolResult",
                    "toolName": text,
                    "toolCallId": text,
                    "error": {"message": text, "code": text},
                },
                {"type": "plan", "agentName": text, "steps": [{"title": text, "status": text}]},
                {"type": text, "status": text},
                {"type": "error", "message": text, "errorType": text},
                {"type": "status", "status": text, "agentName": text},
            )
        ):
            elements.append(element(number * 10 + at, data, text))
    elements += [
        b'{"data":{"text":%b},"timestamp":%b,"x":%b}' % ((json.dumps(text).encode(),) * 3) for text in HOSTILE
    ]
    stage = stored(elements)
    with stage.app.database.transaction() as tx:
        tx.connection.exec_driver_sql(
            "UPDATE task SET label = '<script>\"''&\u202e', last_error = '<b onclick=x>'"
        )
    address = f"{HERE}?from=start"
    seen = 0
    while address:
        page = pages.look(address)
        pages.look(address.replace("?", "?text=plain&"))
        for each in [each for each in page.links if "/event?" in each][:40]:
            pages.look(each.partition("#")[0])
            seen += 1
        for each in [each for each in page.links if "group=" in each and "/event?" not in each][:10]:
            pages.look(each)
        address = page.pager.get("next", "")
    assert seen > 100


@pytest.mark.parametrize(
    "elements",
    [
        [element(n, {"type": "agentMessage", "text": "x" * 3_000_000}) for n in range(8)],
        [
            element(n, {"type": "agentMessage", "text": "**a** [b](https://c.example) | `d` \n\n" * 900})
            for n in range(120)
        ],
        [element(n, {"type": "agentMessage", "text": "\u202e" * 8000}) for n in range(120)],
        [element(n, {"type": "agentMessage", "text": "😀" * 8000}) for n in range(120)],
        [element(n, {"type": "agentMessage", "text": "[" * 8000}) for n in range(120)],
        [element(n, "[" * 900 + "]" * 900) for n in range(120)],
        [element(n, "[" + "1," * 300_000 + "1]") for n in range(8)],
        [element(n, {"type": "toolCall", "arguments": {"a": ['"'] * 100_000}}) for n in range(8)],
        [element(n, {"type": "toolResult", "result": "&" * 1_000_000}) for n in range(20)],
        [element(n, {"type": "plan", "steps": ["&" * 5000] * 1000}) for n in range(20)],
        [element(n, {"n": n}) for n in range(10_000)],
        [element(n, {"type": "x" * 300}, "g" * 500) for n in range(300)],
    ],
    ids=[
        "3 MB strings",
        "Markdown",
        "directions",
        "emoji",
        "brackets",
        "deep",
        "wide",
        "quotes",
        "escapes",
        "steps",
        "10,000 events",
        "long names",
    ],
)
def test_a_page_stays_small_and_says_where_the_rest_is(
    pages: Pages, stored: Any, elements: list[bytes]
) -> None:
    stored(elements)
    for address in (HERE, f"{HERE}?from=start"):
        page = pages.look(address)
        assert page.classes.count("event") >= 1
        pages.look(link(page, "/event?"))
    assert pages.news("W251bGwsWzAsMCwwXV0")["more"] == (
        pages.look(f"{HERE}?from=start").text.count("Later") > 0
    )


def test_a_task_of_very_many_turns_is_shown_without_its_sums(
    pages: Pages, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(element(at, {"type": "userMessage", "text": "Hello"}, group=str(at)) for at in range(4))
    assert "4 turns" in pages.look().text
    monkeypatch.setattr("maia_sync.store.timeline.MOST_SUMMED_UP", 3)
    page = pages.look()
    assert "4 turns" not in page.text
    assert page.classes.count("event") == 4
