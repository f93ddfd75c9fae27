"""How does a test cut a PostgreSQL connection at COMMIT? By a proxy on loopback that reads the protocol.

Protocol: PostgreSQL documentation, "Message Formats". A COMMIT is seen in the simple query protocol (Query)
and in the extended one (Parse, Bind, Execute, Sync).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO, Self

_SSL_REQUEST, _CANCEL_REQUEST, _GSS_REQUEST = 80877103, 80877102, 80877104
_PATIENCE = 60


@dataclass
class _Order:
    """One cut that is to be made."""

    before: bool
    skip: int
    having: bytes


class CuttingProxy:
    """Listens on loopback and passes everything on to the server of a URL; a context manager.

    New connections are served before, between and after cuts. `cuts` counts the cuts that were made.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._order: _Order | None = None
        self._lock = threading.Lock()
        self._passing: set[_Passage] = set()
        self._ending = False
        self.cuts = 0

    @property
    def url(self) -> str:
        """The target's URL, by way of the proxy."""
        login, at, _ = self._target.netloc.rpartition("@")
        host, port = self._listener.getsockname()
        query = parse_qs(self._target.query)
        query.pop("host", None)
        netloc = f"{login}{at}{host}:{port}"
        return urlunsplit(self._target._replace(netloc=netloc, query=urlencode(query, doseq=True)))

    def cut_at_commit(self, *, before: bool, skip: int = 0, having: str = "") -> None:
        """Cut one connection at a COMMIT: before the server is sent it, or after it has answered.

        Either way the client gets no answer. So many COMMITs are let pass first; with `having`, only those
        count that end a transaction in which the client has sent this text.
        """
        with self._lock:
            self._order = _Order(before, skip, having.encode())

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        with self._lock:
            passing = list(self._passing)
        for each in passing:
            each.cut()

    def take_order(self, sent: bytes) -> _Order | None:
        """Return the order, once, if it is for the transaction in which the client has sent this."""
        with self._lock:
            order = self._order
            if order is None or order.having not in sent:
                return None
            order.skip -= 1
            if order.skip >= 0:
                return None
            self._order = None
            self.cuts += 1
            return order

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_PATIENCE)
        self._listener.close()
        self.cut_all()
        with self._lock:
            passing = list(self._passing)
        for each in passing:
            each.join(_PATIENCE)

    def _accept(self) -> None:
        while not self._ending:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passage = _Passage(self, client)
            with self._lock:
                self._passing.add(passage)
            passage.start()

    def connect(self) -> socket.socket:
        """Connect to the target, by its Unix socket or by TCP."""
        host = parse_qs(self._target.query).get("host", [self._target.hostname or "127.0.0.1"])[0]
        port = self._target.port or 5432
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            server.close()
            raise
        return server

    def forget(self, passage: _Passage) -> None:
        """Drop a connection that has ended."""
        with self._lock:
            self._passing.discard(passage)


class _Passage(threading.Thread):
    """One client's connection and its own to the server: this thread passes requests on, another answers."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket) -> None:
        super().__init__()
        self._proxy, self._client = proxy, client
        self._server: socket.socket | None = None
        self._swallowing = threading.Event()
        self._statements: dict[bytes, bytes] = {}
        self._sent = bytearray()
        """What the client has sent since its transaction began."""

    def cut(self) -> None:
        """Break both connections; who reads from one finds its end."""
        for each in (self._client, self._server):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        answers = threading.Thread(target=self._pass_answers)
        try:
            with contextlib.suppress(OSError):  # broken by either side: then both are
                self._server = self._proxy.connect()
                with self._client.makefile("rb") as requests:
                    if self._shake_hands(requests):
                        answers.start()
                        self._pass_requests(requests)
        finally:
            self.cut()
            if answers.ident is not None:
                answers.join(_PATIENCE)
            self._client.close()
            if self._server is not None:
                self._server.close()
            self._proxy.forget(self)

    def _shake_hands(self, requests: BinaryIO) -> bool:
        """Pass on the startup message, refusing encryption; tell whether the usual messages follow."""
        assert self._server is not None
        while True:
            head = requests.read(8)
            if len(head) < 8:
                return False
            length, code = struct.unpack("!ii", head)
            if code in (_SSL_REQUEST, _GSS_REQUEST):
                self._client.sendall(b"N")
                continue
            self._server.sendall(head + requests.read(length - 8))
            return bool(code != _CANCEL_REQUEST)

    def _pass_requests(self, requests: BinaryIO) -> None:
        assert self._server is not None
        while message := _read_message(requests):
            statement = self._statement_of(message)
            if statement.startswith((b"BEGIN", b"START")):
                self._sent.clear()
            if statement in (b"COMMIT", b"END"):
                order = self._proxy.take_order(bytes(self._sent))
                if order is not None and order.before:
                    return
                if order is not None:
                    self._swallowing.set()
            self._sent += message
            self._server.sendall(message)

    def _statement_of(self, message: bytes) -> bytes:
        """Return the statement, in capitals, that this message has the server run; or nothing."""
        kind, body = message[:1], message[5:]
        statement = b""
        if kind == b"Q":
            statement = body
        elif kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._statements[name] = text
        elif kind == b"B":
            statement = self._statements.get(body.split(b"\0", 2)[1], b"")
        return statement.strip(b"; \n\0").upper()

    def _pass_answers(self) -> None:
        assert self._server is not None
        with contextlib.suppress(OSError), self._server.makefile("rb") as answers:
            while message := _read_message(answers):
                if not self._swallowing.is_set():
                    self._client.sendall(message)
                elif message.startswith(b"Z"):  # ready for the next query: the commit has been made
                    break
        self.cut()


def _read_message(stream: BinaryIO) -> bytes:
    """Return one whole message, or nothing at the end."""
    head = stream.read(5)
    if len(head) < 5:
        return b""
    body = stream.read(struct.unpack("!i", head[1:])[0] - 4)
    return head + body
