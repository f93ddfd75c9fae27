"""Who does this? The person at the terminal, as rows and the archive name one."""

from __future__ import annotations

import getpass
import os
import socket


def person(worker: str | None, name: str | None = None) -> str:
    """Return user and host, behind the name that was given, if one was.

    `worker` is what schedule.worker calls this host, if it does.
    """
    account = f"{_user()}@{worker or socket.gethostname()}"
    return account if name is None else f"{name} ({account})"


def _user() -> str:
    try:
        return getpass.getuser().encode(errors="replace").decode()
    except (OSError, KeyError, ImportError):  # a container may have a user without a name
        return f"uid-{os.getuid()}"
