"""How does Markdown that somebody else wrote become HTML that can do no harm?

HTML in it stays text. Nothing is loaded: an image is told by its description and address. A link leads to
http, https or mailto only, and where it leads stands behind it, so that its words cannot deceive. Headings
become paragraphs, for the outline of the page is ours.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markupsafe import Markup, escape

from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

LONGEST: Final = 8_192
"""Characters of a text that are read as Markdown at most: callers cut before."""
_MOST_OF: Final = {"[": 200, "<": 500, "|": 1_000}
"""Brackets can begin a link or an address each, whose end is looked for; each bar can end a table's cell."""
MOST_LINES: Final = 1_000
"""Lines that are not empty: each is looked at for all that could begin or end there."""
MOST_WORK: Final = 3_000
"""What quotes, lists and tables come to: lines times how deep they lie, rows times their columns."""
DEEPEST: Final = 20
"""How deep quotes and lists go; what would lie deeper is left out by the parser."""
LONGEST_HTML: Final = 48_000
_LINE_ENDS: Final = re.compile(r"\r\n?|\n")
_LEADS: Final = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_RELATION: Final = "noopener noreferrer nofollow ugc"


_CONTAINERS: Final = re.compile(r"(?:[ \t]*(?:>|[-+*](?=[ \t]|$)|\d{1,9}[.)](?=[ \t]|$)))*[ \t]*")
"""The marks of quotes and lists at the beginning of a line."""
_OF_DELIMITERS: Final = "|:- \t>+*0123456789.)"
"""What a line is made of that stands below a table's head, perhaps within a quote or a list."""


def render_markdown(text: str) -> Markup | None:
    """Return the text as HTML; None where it would take too long or too much room."""
    if len(text) > LONGEST or any(text.count(mark) > most for mark, most in _MOST_OF.items()):
        return None
    return _rendered(text) if _is_little_work(text) else None


def _is_little_work(text: str) -> bool:
    """Tell whether a text is read quickly, by what its lines begin with.

    A line belongs to the quotes and lists of the one before, whether it says so or not, and to a table that
    has begun, until an empty line comes; a row is filled up to the table's columns. Where a quote begins
    again behind lines that do not say so, all that follows may be looked at again.
    """
    work = lines = depth = columns = quotes = 0
    is_quoted = False
    for line in _LINE_ENDS.split(text):
        begins = _CONTAINERS.match(line)
        marks = 0 if begins is None else sum(each in ">-+*.)" for each in begins[0])
        if begins is not None and begins.end() == len(line):  # an empty line, perhaps of a quote
            columns = 0
            depth, quotes = (depth, quotes) if marks else (0, 0)
        else:
            lines += 1
        was_quoted, is_quoted = is_quoted, begins is not None and ">" in begins[0]
        quotes += is_quoted and not was_quoted
        depth = min(max(depth, marks + (len(line) - len(line.lstrip())) // 2), DEEPEST)
        if "-" in line and not line.strip(_OF_DELIMITERS):
            columns = max(columns, line.count("|") + 1)
        work += 1 + depth + columns + quotes
        if lines > MOST_LINES or work > MOST_WORK:
            return False
    return True


@lru_cache(maxsize=256)
def _rendered(text: str) -> Markup | None:
    html = visible(str(_MARKDOWN.render(visible(text))))  # once more: &#8238; has become a character
    return Markup(html) if len(html) <= LONGEST_HTML else None  # noqa: S704 - our renderer escapes


class _Renderer(RendererHTML):
    """Writes tokens as HTML: in place of what could do harm, what says the same."""

    def heading_open(self, *_: Any) -> str:
        return '<p class="heading">'

    def heading_close(self, *_: Any) -> str:
        return "</p>\n"

    def image(self, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[at]
        told = self.renderInlineAsText(token.children, options, env) if token.children else ""
        address = token.attrGet("src")
        return f'<span class="image">{escape(f"{told} ({address})".strip())}</span>'

    def link_open(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        address = escape(str(tokens[at].attrGet("href")))
        return f'<a href="{address}" title="{address}" rel="{_RELATION}"><bdi>'

    def link_close(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        opened = next(each for each in reversed(tokens[:at]) if each.type == "link_open")
        address = str(opened.attrGet("href"))
        if opened.markup == "autolink" and ("@" not in address or address.startswith("mailto:")):
            return "</bdi></a>"
        return f'</bdi></a> <span class="address">[{escape(_whereto(address))}]</span>'

    def fence(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        return f"<pre><code>{escape(tokens[at].content)}</code></pre>\n"

    def table_open(self, *_: Any) -> str:
        return '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        return self._cell(tokens[at])

    def td_open(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        return self._cell(tokens[at])

    def _cell(self, token: Token) -> str:
        is_number = "right" in str(token.attrGet("style") or "")
        return f'<{token.tag} class="number">' if is_number else f"<{token.tag}>"


def _whereto(address: str) -> str:
    """Return what a reader should know of an address: the host, or the mailbox."""
    if address[:7].lower() == "mailto:":
        return address[7:].partition("?")[0]
    try:
        return urlsplit(address).hostname or address
    except ValueError:
        return address


def _may_lead(address: str) -> bool:
    return _LEADS.match(address) is not None


def _make() -> MarkdownIt:
    options = {"html": False, "maxNesting": DEEPEST}
    parser = MarkdownIt("commonmark", options, renderer_cls=_Renderer).enable("table")
    parser.validateLink = _may_lead  # type: ignore[method-assign,assignment]
    return parser


_MARKDOWN: Final = _make()
