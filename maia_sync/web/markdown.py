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
MOST_MARKS: Final = 400
"""Brackets, of which each can begin a link: looking for the end of each takes time."""
MOST_CELLS: Final = 1_000
"""Bars, of which each can end a table's cell: a row's missing cells are added."""
LONGEST_HTML: Final = 48_000
_LEADS: Final = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_RELATION: Final = "noopener noreferrer nofollow ugc"


def render_markdown(text: str) -> Markup | None:
    """Return the text as HTML; None where it would take too long or too much room."""
    if len(text) > LONGEST or text.count("[") > MOST_MARKS or text.count("|") > MOST_CELLS:
        return None
    return _rendered(text)


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
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    parser.validateLink = _may_lead  # type: ignore[method-assign,assignment]
    return parser


_MARKDOWN: Final = _make()
