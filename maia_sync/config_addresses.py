"""Which addresses may a setting hold, and how are they spelt? Values in, values out, or RefusedError."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from maia_sync.settings import POSTGRESQL, SQLITE, Secret

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_BIND: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})")
_STORES: Final = ("s3", "gs", "az")


class RefusedError(Exception):
    """A value is not what its key takes; the text, if any, says it better than the key's own."""


def text_of(value: object) -> str:
    """Take any text that can be printed and says something."""
    if isinstance(value, str) and value.strip() and value.strip().isprintable():
        return value.strip()
    raise RefusedError


def is_loopback(host: str) -> bool:
    """Whether traffic to this host never leaves the machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback if address.version == 4 else address == ipaddress.IPv6Address("::1")


def _is_host(host: str, *, ipv6: bool) -> bool:
    if not ipv6 and not re.fullmatch(r"[0-9.]+", host):
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == (6 if ipv6 else 4)
    except ValueError:
        return False


def split_url(value: object) -> SplitResult:
    """Take an http:// or https:// address of a host."""
    text = text_of(value)
    if not text.isascii() or re.search(r'[\s\\"<>^`{|}]', text):
        raise RefusedError
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise RefusedError from None
    if parts.scheme not in {"http", "https"} or port == 0 or not _is_host(host, ipv6="[" in parts.netloc):
        raise RefusedError
    return parts


def endpoint(value: object) -> str:
    """Take an address that others are built upon."""
    parts = split_url(value)
    if "@" in parts.netloc:
        raise RefusedError("an address without credentials in it; they belong in [auth]")
    if "?" in text_of(value) or "#" in text_of(value):
        raise RefusedError("an address without a query or a fragment")
    return parts.geturl().rstrip("/")


def secret_address(value: object) -> Secret:
    """Take an address whose knowledge is a right to use it."""
    return Secret(split_url(value).geturl())


def archive_url(value: object) -> str:
    """Take a folder's path, or the URL of a folder or of a place in an object store."""
    text = text_of(value)
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise RefusedError from None
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise RefusedError("a URL without credentials and parameters: they come from the environment")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return text
    if parts.scheme not in _STORES or not parts.netloc or not text.isascii():
        raise RefusedError
    return text.rstrip("/")


def database_url(value: object) -> str:
    """Take the URL of a SQLite file or of a PostgreSQL."""
    text = text_of(value)
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in {"sqlite", "sqlite+pysqlite"}:
        return _sqlite_url(text.replace("sqlite+pysqlite:", "sqlite:", 1))
    if scheme in {"postgresql+psycopg", "postgresql", "postgres"}:
        return _postgresql_url(POSTGRESQL + text.removeprefix(f"{scheme}://"))
    raise RefusedError


def _sqlite_url(url: str) -> str:
    file = unquote(url.removeprefix(SQLITE))
    if url in {"sqlite://", SQLITE} or ":memory:" in file or "mode=memory" in file:
        raise RefusedError("a database file, as an in-memory SQLite database is lost when the command ends")
    if not url.startswith(SQLITE) or file.startswith("file:") or "?" in url or not file.isprintable():
        raise RefusedError(
            'sqlite:/// and the path of a file, such as "sqlite:///maia_sync.db", with no parameters'
        )
    return url


def _postgresql_url(url: str) -> str:
    # SQLAlchemy ends the password at the first @ and the host at the first /, ? or :, so any of
    # these inside a password would move a part of it into the host, and from there into messages.
    rest = url.removeprefix(POSTGRESQL)
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    port = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@]*)(?::([0-9]{1,5}))?", host)
    if rest.count("@") != authority.count("@") or authority.count("@") > 1 or port is None:
        raise RefusedError(
            "postgresql+psycopg://user@host:port/database; if the password is in it, "
            "with @ : / ? and % in the password written as %40 %3A %2F %3F %25"
        )
    if int(port[1] or 1) not in range(1, 65_536):
        raise RefusedError("a port from 1 to 65535")
    if any(key.lower() == "password" for key, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)):
        raise RefusedError("no password among the parameters: put it into database.password_file")
    return url


def bind(value: object) -> str:
    """Take an address to listen on."""
    text = text_of(value)
    match = _BIND.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise RefusedError
    if not _is_host(match["ipv6"] or match["host"], ipv6=match["ipv6"] is not None):
        raise RefusedError
    return text
