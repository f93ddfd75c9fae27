from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from page_check import Checked

from maia_sync.web import markdown
from maia_sync.web.markdown import LONGEST, LONGEST_HTML, render_markdown

if TYPE_CHECKING:
    from types import FrameType


def rendered(text: str) -> str:
    html = render_markdown(text)
    assert html is not None
    Checked(str(html))
    return str(html)


def test_what_markdown_is_for_is_kept() -> None:
    html = rendered(
        "# Title\n\n**bold** `code`\n\n1. one\n\n| a | n |\n|---|--:|\n| b | 1 |\n\n> q\n\n"
        "```sql\nSELECT 1\n```"
    )
    for part in (
        '<p class="heading">Title</p>',
        "<strong>bold</strong>",
        "<code>code</code>",
        "<ol>",
        "<blockquote>",
        '<td class="number">1</td>',
        "<pre><code>SELECT 1",
    ):
        assert part in html, part
    assert 'class="scroll" tabindex="0" role="region"' in html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[google.com](https://evil.example/x)", "google.com [evil.example]"),
        ("[https://good.example](https://good.example@evil.example/)", "https://good.example [evil.example]"),
        ("<https://good.example@evil.example/>", "https://good.example@evil.example/ [evil.example]"),
        ("<https://good.example/>", "https://good.example/"),
        ("[me](mailto:a@b.example?subject=x)", "me [a@b.example]"),
        ("[p\u0430ypal.com](https://p\u0430ypal.com)", "p\u0430ypal.com [xn--pypal-4ve.com]"),
        ("[x](HTTPS://EVIL.example)", "x [evil.example]"),
    ],
)
def test_a_link_says_where_it_leads(text: str, shown: str) -> None:
    html = rendered(text)
    assert re.sub("<[^>]*>", "", html).strip() == shown
    assert 'rel="noopener noreferrer nofollow ugc"' in html
    assert re.search(r'title="(?i:https?://|mailto:)', html)


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](\x01javascript:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "[x](file:///etc/passwd)",
        "[x](//evil.example)",
        "[x](/tasks)",
        "[x](#a)",
        "[x]\n\n[x]: javascript:alert(1)",
        "<javascript:alert(1)>",
        "<script>alert(1)</script>",
        "<a href=https://evil.example onclick=alert(1)>x</a>",
        "a <img src=x onerror=alert(1)> b",
        "<!-- x -->",
        "![x](javascript:alert(1))",
        "`<b>`",
        "```<b onclick=x\n<script>\n```",
    ],
)
def test_nothing_but_http_and_mail_is_a_link_and_html_is_text(text: str) -> None:
    html = rendered(text)
    assert "<a" not in html
    assert "<script" not in html
    assert "<img" not in html


def test_an_image_is_told_not_loaded() -> None:
    html = rendered('![a "cat"](https://evil.example/x.png "title")')
    assert "<img" not in html
    assert "cat" in html
    assert "(https://evil.example/x.png)" in html


def test_what_an_entity_hides_is_made_visible() -> None:
    html = rendered("&#8238;gnp.exe &#27; &#x200b; [x](https://a.example/&#8238;)")
    assert "⟨U+202E⟩gnp.exe � ⟨U+200B⟩" in html
    assert "\u202e" not in html


def lines_run(text: str) -> int:
    """Return how many lines of Python it takes to render a text."""
    steps = 0
    markdown._rendered.cache_clear()

    def trace(_frame: FrameType, event: str, _argument: object) -> object:
        nonlocal steps
        steps += event == "line"
        return trace

    sys.settrace(trace)
    try:
        render_markdown(text)
    finally:
        sys.settrace(None)
    return steps


ORDINARY = "I looked at `x.y`: the key is **id**, and [3](https://a.example) changed.\n\n- a: 1\n- b *x*\n\n"
AWKWARD = (
    "[",
    "*",
    "*a ",
    "_a",
    "*a_ ",
    "> ",
    "![",
    "`a``b```c",
    "[a](",
    "<a ",
    "[x][",
    "*_",
    "]",
    "[a](b)",
    "\\",
    "&",
    "&a;",
    "|",
    "|a\n|-",
    "- ",
    "1. ",
    "~~~\n",
    "**x",
    "x** ",
    "<http://a",
    "(",
    "[a]: b\n",
    "[a](<b",
    "#",
    "<!--",
    "> - ",
    "\t",
    '[a](b "',
    "***a**b*",
    "`",
    "<",
    "https://",
    "a@b.c ",
    "\n\n",
    "- a\n  ",
)


@pytest.mark.parametrize("part", AWKWARD)
def test_awkward_text_takes_no_more_than_a_few_times_what_ordinary_text_takes(part: str) -> None:
    most = 8 * lines_run((ORDINARY * 200)[:LONGEST])
    for text in (
        (part * LONGEST)[:LONGEST],
        (part * LONGEST)[: LONGEST // 2] + ("]" * LONGEST)[: LONGEST // 2],
    ):
        assert lines_run(text) < most
        html = render_markdown(text + "") if len(text) <= LONGEST else None
        assert html is None or len(html) <= LONGEST_HTML


def test_a_text_that_is_too_long_is_not_read() -> None:
    assert render_markdown("x" * (LONGEST + 1)) is None
    assert render_markdown("[" * 500) is None


@pytest.mark.parametrize(
    "text",
    [
        "n\n\n" + "|a" * 20 + "\n" + "|-" * 20 + "\n" + "|\n" * 900,
        "> q\n\n> " + "|a" * 20 + "\n> " + "|-" * 20 + "\n" + "> |\n" * 900,
        "a|b\n-|-\n" + "x\n" * 4000,
        "a|\n--\n" + "x\n" * 4000,
        ">" * 300 + "a\n" + "b\n" * 3800,
        "- " * 300 + "a\n" + "b\n" * 3800,
        "1. > " * 30 + "a\n" + "b\n" * 3800,
        ("~|*1.  " * 570 + "```\n](\n>" * 500)[:LONGEST],
        ">```\n](\n" * 500,
        "x\n" * 4000,
        "- \n" * 2700,
    ],
)
def test_what_its_lines_would_multiply_is_refused_before_it_is_read(text: str) -> None:
    work = lines_run(text)
    assert render_markdown(text) is None
    assert 100 * work < lines_run((ORDINARY * 200)[:LONGEST]) * 60  # a hundred on a page: well below a second


def test_long_lists_quotes_and_tables_are_still_markdown() -> None:
    for text in (
        "- a point\n  - another, below it\n" * 150,
        "> a quote of many lines\n" * 200,
        "> a quote\n\nan answer\n\n" * 200,
        "| name | count | share |\n|---|--:|--:|\n" + "| some name | 12 | 3 % |\n" * 200,
        "1. first\n\n   ```sql\n   SELECT 1\n   ```\n\n" * 100,
    ):
        assert "<" in rendered(text[:LONGEST])
