"""What does systemd get to know? The protocol of sd_notify(3), without a library.

Outside systemd, and where the socket cannot be used, nothing happens: being looked after must never
be what stops the service.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_STATUS = 500
_PATIENCE = 0.5
"""Seconds that a full socket may hold us up."""


class Notifier:
    """Tells systemd how the service fares.

    `socket_path`: $NOTIFY_SOCKET, a path or `@` and an abstract name; None if nobody listens.
    `watchdog_usec`: within how many microseconds systemd must hear of us again and again; None if not.
    """

    def __init__(self, socket_path: str | None = None, watchdog_usec: int | None = None) -> None:
        self._address = _address(socket_path or "")
        self.watchdog_seconds = watchdog_usec / 2e6 if watchdog_usec and self._address else None
        """How often `watchdog` has to be called: twice within what systemd allows. None: never."""

    def ready(self, status: str) -> None:
        """Say that the service is up, or has reloaded."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """Say what it is doing, for `systemctl status`."""
        self._send(_status(text))

    def reloading(self, monotonic_usec: int) -> None:
        """Say that the configuration is being read again; `ready` follows. The time is CLOCK_MONOTONIC's."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec}")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that it is alive."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        with (
            contextlib.suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.settimeout(_PATIENCE)
            sender.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


def notifier_from(environ: Mapping[str, str]) -> Notifier:
    """Return the notifier that systemd's variables ask for.

    A WATCHDOG_PID that is not ours belongs to another process, whose watchdog is none of our business.
    """
    usec = environ.get("WATCHDOG_USEC", "")
    watchdog = int(usec) if usec.isascii() and usec.isdigit() and len(usec) < 19 else None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        watchdog = None
    return Notifier(environ.get("NOTIFY_SOCKET"), watchdog)


def _address(path: str) -> str | None:
    """Return the socket's address; None for none, and for kinds that we do not speak, such as vsock:."""
    if path.startswith("@"):
        return f"\0{path[1:]}"
    return path if path.startswith("/") else None


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_LONGEST_STATUS]}"
