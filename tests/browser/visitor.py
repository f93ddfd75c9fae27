"""What does a visitor's browser do with a page, and what does the page do to the browser?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Response

_OPEN_EVERYTHING = """() => {
  for (const each of document.querySelectorAll('details')) each.open = true;
}"""
_ESCAPED = """(isFile) => {
  const found = [];
  if (window.__xss !== undefined) found.push(`ran: ${window.__xss}`);
  const isFine = (address) => {
    if (!URL.canParse(address, location.href)) return false;
    const target = new URL(address, location.href);
    return ['http:', 'https:', 'mailto:'].includes(target.protocol)
      || (isFile && target.protocol === 'file:' && target.pathname === location.pathname);
  };
  const forbidden = 'iframe, frame, object, embed, applet, base, meta[http-equiv=refresh], template, '
    + 'marquee, video, audio, math, foreignObject, animate, set, portal';
  const leads = ['href', 'src', 'action', 'formaction', 'xlink:href', 'data', 'poster', 'cite', 'ping'];
  const files = isFile ? null : '/static/';
  const own = {script: files, img: files, style: isFile ? '' : null};
  for (const each of document.querySelectorAll('*')) {
    const tell = (what) => found.push(`${what}: ${each.outerHTML.slice(0, 120)}`);
    if (each.localName.startsWith('xss') || each.matches(forbidden)) tell('element');
    if (each.localName in own) {
      const place = own[each.localName];
      const from = each.getAttribute('src') || '';
      if (place === null || !from.startsWith(place)) tell('element');
    }
    for (const {name, value} of each.attributes) {
      if (name.startsWith('on') || name.includes('xss') || name === 'style' || name === 'srcdoc')
        tell(`attribute ${name}`);
      if (isFile && each.hasAttribute('download') && value.startsWith('data:text/csv')) continue;
      if (leads.includes(name) && !isFine(value)) tell(`leads to ${value.slice(0, 80)}`);
    }
  }
  if (document.querySelectorAll('style').length > (isFile ? 1 : 0)) found.push('too many styles');
  return found;
}"""
"""Elements, attributes and addresses that are none of ours."""
_TOUCH_EVERYTHING = """() => {
  for (const each of document.querySelectorAll('main *'))
    for (const kind of ['mouseover', 'focus']) each.dispatchEvent(new Event(kind));
}"""
_WRITE = """async (address) => {
  const response = await fetch(address, {headers: {accept: 'text/html'}});
  const text = await response.text();
  document.open();
  document.write(text);
  document.close();
  return [response.status, response.headers.get('content-security-policy')];
}"""
_NUMBERS = """() => {
  const found = document.body.textContent.matchAll(/=([0-9]{3})=/g);
  return [...found].map((match) => Number(match[1]));
}"""


class Visitor:
    """A page of a browser, what it asked for, and what went wrong in it."""

    def __init__(self, browser: Browser, site_url: str, **settings: Any) -> None:
        self.site_url = site_url
        self._context = browser.new_context(base_url=site_url, **settings)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.requests: list[str] = []
        self.troubles: list[str] = []
        self.page.on("request", self._note_request)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"script failed: {error}"))
        self.page.on("dialog", self._note_dialog)
        self.page.on("popup", lambda page: self.troubles.append(f"opened {page.url}"))

    def open(self, address: str, *, status: int | None = 200) -> Response:
        """Go to an address, wait for its panels, and open everything that is folded."""
        response = self.page.goto(address)
        assert response is not None, address
        if status is not None:
            assert response.status == status, (address, response.status)
        self._wait_for_panels()
        self.unfold()
        return response

    def unfold(self) -> None:
        """Open everything that is folded."""
        self.page.evaluate(_OPEN_EVERYTHING)

    def escaped(self, *, is_file: bool = False) -> list[str]:
        """Touch everything; return what of a page is no page of ours, and whether a script ran."""
        self.page.evaluate(_TOUCH_EVERYTHING)
        found: list[str] = self.page.evaluate(_ESCAPED, is_file)
        return found

    def write(self, address: str) -> tuple[int, str]:
        """Fetch a page of the site and write it in place of the one that is open, at half of the cost.

        What it holds is parsed, and runs, as if one had gone there; it must leave no timer behind. Returns
        the status and the policy, which is not applied.
        """
        status, policy = self.page.evaluate(_WRITE, address)
        self._wait_for_panels()
        self.unfold()
        return status, policy

    def numbers(self) -> set[int]:
        """Return the numbers of the attacks that the page shows."""
        return set(self.page.evaluate(_NUMBERS))

    def elsewhere(self) -> list[str]:
        """Return the requests that went to any other place than the site."""
        return [url for url in self.requests if not self._is_ours(url)]

    def leave(self) -> None:
        """Close the page."""
        self._context.close()

    def _wait_for_panels(self) -> None:
        expect(self.page.locator(".pending")).to_have_count(0, timeout=30_000)

    def _is_ours(self, url: str) -> bool:
        return urlsplit(url)[:2] == urlsplit(self.site_url)[:2]

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "status of" not in message.text:
            self.troubles.append(f"console: {message.text[:300]} at {self.page.url[:200]}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()
