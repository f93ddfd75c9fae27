"""Is a page well-formed, inert and ours? Judged by the standard library's parser alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = frozenset(("meta", "link", "br", "hr"))
KNOWN = VOID | {
    *(
        "html",
        "head",
        "title",
        "script",
        "body",
        "a",
        "header",
        "nav",
        "ul",
        "ol",
        "li",
        "main",
        "h1",
        "h2",
        "h3",
    ),
    *("p", "div", "span", "section", "article", "details", "summary", "pre", "code", "bdi", "time", "footer"),
    *("del", "ins", "table", "thead", "tbody", "tr", "th", "td", "button", "em", "strong", "blockquote"),
}
_LEADS = re.compile(r"(?:/(?!/)|#|https?://|mailto:)", re.IGNORECASE)


class Checked(HTMLParser):
    """A page that has been read; raises AssertionError for what no page of ours has."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.pager: dict[str, str] = {}
        self.classes: list[str] = []
        self.headings: list[str] = []
        text.encode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), (
            "a control character"
        )
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"
        assert len(self.ids) == len(set(self.ids)), "an id is given twice"

    @property
    def text(self) -> str:
        """All that is to be read."""
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN, f"<{tag}>"
        given = dict(attributes)
        assert len(given) == len(attributes), f"an attribute twice: {attributes}"
        for name, value in attributes:
            assert not name.startswith("on"), f"a handler: {name}={value}"
            assert name not in ("style", "src") or tag == "script", f"{name}={value}"
            assert re.fullmatch(r"[a-z][a-z-]*", name), f"the attribute {name}"
        if tag == "script":
            assert given["src"] == "/static/live.js"
        if "href" in given and tag == "a":
            address = given["href"] or ""
            assert _LEADS.match(address), f"a link to {address}"
            assert address.startswith(("/", "#")) or "noopener" in (given.get("rel") or "")
            self.links.append(address)
            if given.get("rel") in ("next", "prev"):
                self.pager[given["rel"] or ""] = address
        if given.get("id"):
            self.ids.append(given["id"] or "")
        self.classes += (given.get("class") or "").split()
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:40]}")
