"""Of which elements is a page made? Read as a browser reads HTML, for tests of what stands in it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "img", "link", "input", "path"}


class Elements(HTMLParser):
    """Every element with its attributes and the text directly in it; raises where they are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str, **attributes: str) -> list[dict[str, Any]]:
        return [
            found
            for name, found in self.found
            if name == tag and all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]
