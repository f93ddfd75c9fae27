"""Does systemd hear what sd_notify(3) says it must, and is nothing ever the worse for it?"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maia_sync.service.notify import Notifier, notifier_from

if TYPE_CHECKING:
    from collections.abc import Iterator


class Systemd:
    """A datagram socket that keeps what it is told."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(10)
        self.variable = address.replace("\0", "@", 1)

    def heard(self) -> str:
        return self._socket.recv(65_536).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest) -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory() as folder:
        abstract = request.param == "abstract"
        address = f"\0maia-sync-{secrets.token_hex(8)}" if abstract else str(Path(folder) / "notify")
        listening = Systemd(address)
        yield listening
        listening.close()


def test_systemd_hears_of_each_step(systemd: Systemd) -> None:
    notifier = Notifier(systemd.variable, 30_000_000)
    notifier.ready("12 tasks")
    assert systemd.heard() == "READY=1\nSTATUS=12 tasks"
    notifier.status("polling")
    assert systemd.heard() == "STATUS=polling"
    notifier.watchdog()
    assert systemd.heard() == "WATCHDOG=1"
    notifier.reloading(123_456_789)
    assert systemd.heard() == "RELOADING=1\nMONOTONIC_USEC=123456789"
    notifier.stopping()
    assert systemd.heard() == "STOPPING=1"


def test_a_status_cannot_forge_another_line_and_is_bounded(systemd: Systemd) -> None:
    notifier = Notifier(systemd.variable)
    notifier.status("one\nREADY=1\r\n\u2028two \ud800")
    assert systemd.heard() == "STATUS=one READY=1 two ?"
    notifier.status("x" * 10_000)
    assert len(systemd.heard()) < 1000


def test_without_systemd_nothing_happens() -> None:
    for notifier in (Notifier(None), Notifier(""), Notifier("vsock:2:1234"), notifier_from({})):
        notifier.ready("up")
        notifier.watchdog()
        assert notifier.watchdog_seconds is None


@pytest.mark.parametrize("path", ["/nowhere/notify", "/" + "x" * 300, "/a\0b", "@" + "x" * 300, "/tmp"])
def test_a_socket_that_cannot_be_used_stops_nothing(path: str) -> None:
    Notifier(path, 1).stopping()


def test_the_watchdog_is_fed_twice_within_what_systemd_allows() -> None:
    assert Notifier("/run/systemd/notify", 30_000_000).watchdog_seconds == 15.0
    assert Notifier("/run/systemd/notify").watchdog_seconds is None


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "no number"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_variables_of_systemd_are_read_and_another_process_watchdog_is_not_ours(
    variables: dict[str, str], seconds: float | None
) -> None:
    assert notifier_from({"NOTIFY_SOCKET": "/run/notify", **variables}).watchdog_seconds == seconds
