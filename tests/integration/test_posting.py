"""Does a checkpoint reach who keeps it, and does no message show where that is?"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from maia_sync.errors import MaiaSyncError
from maia_sync.service.posting import post_checkpoint
from maia_sync.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTE = "example.com/log\n17\nAAAA\n\n— example.com/log c2ln\n"
PATH = "/c4nary-the-secret"


@contextmanager
def keeper(status: str | None) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of a server that answers with this status, and what it was sent."""
    taken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                while NOTE.encode() not in b"".join(taken):
                    taken.append(connection.recv(65_536))
                if status is not None:
                    answer = f"HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
                    connection.sendall(answer.encode())
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}{PATH}", taken
        thread.join()


def test_a_checkpoint_is_posted_as_it_is_also_where_a_loop_runs() -> None:
    with keeper("201 Created") as (address, taken):

        async def post() -> None:
            post_checkpoint(Secret(address), NOTE, ca_file=None)

        asyncio.run(post())
    head, _, body = b"".join(taken).partition(b"\r\n\r\n")
    assert head.startswith(f"POST {PATH} HTTP/1.1\r\n".encode())
    assert b"content-type: text/plain; charset=utf-8" in head.lower()
    assert b"authorization" not in head.lower()
    assert body.decode() == NOTE


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("500 Oops", "answered 500"),
        ("302 Found", "answered 302: redirects are not followed"),
        ("404 Not Found", "answered 404"),
        (None, "no whole answer|was not whole after"),
    ],
)
def test_a_keeper_that_does_not_take_it_is_told_without_the_address(
    status: str | None, sentence: str
) -> None:
    with keeper(status) as (address, _), pytest.raises(MaiaSyncError, match=sentence) as caught:
        post_checkpoint(Secret(address), NOTE, ca_file=None, deadline=1.0 if status is None else 30.0)
    assert "c4nary" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_what_cannot_even_be_asked_is_told(tmp_path: Path) -> None:
    with pytest.raises(MaiaSyncError, match="cannot be reached"):
        post_checkpoint(Secret("http://127.0.0.1:1/c4nary"), NOTE, ca_file=None)
    with pytest.raises(MaiaSyncError, match=r"cannot be asked: .*api\.ca_file"):
        post_checkpoint(Secret("https://127.0.0.1:1/c4nary"), NOTE, ca_file=tmp_path / "none.pem")
