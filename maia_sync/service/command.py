"""What does a command of the operator's print? Within limits, and without leaving anything running.

No shell. The command is the first of a process group of its own, which is killed whole when it takes too
long, prints too much, or nobody waits for it any more. What it says on stderr is not read: it may hold a
secret.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAST_WAIT = 1.0
"""How long a killed command is waited for, in seconds: one that hangs in the kernel outlives even that."""


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """What a command printed, or why that does not count."""

    output: bytes = b""
    error: str | None = None
    """A sentence about the command, without a subject; never a word of what it printed."""


async def run_command(command: Sequence[str], *, seconds: float, most_bytes: int) -> Printed:
    """Run a command to its end, for so many seconds at most, and return what it printed."""
    protocol = _Listener(most_bytes)
    running = asyncio.ensure_future(_run(command, protocol, seconds))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # Not handed on: asyncio waits for ever for a process that it was starting when it was cancelled,
        # if a child of that process keeps its output open.
        protocol.give_up()
        await asyncio.wait([running])
        raise


async def _run(command: Sequence[str], protocol: _Listener, seconds: float) -> Printed:
    try:
        process, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: protocol,
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return Printed(error=f"cannot be started: {reason}")
    try:
        await asyncio.wait([protocol.settled], timeout=seconds)
        return _result(process, protocol, seconds)
    finally:
        await _end(process, protocol)


class _Listener(asyncio.SubprocessProtocol):
    """Keeps what a command prints, up to a bound."""

    def __init__(self, most_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.output = bytearray()
        self.too_much = False
        self.settled: asyncio.Future[None] = loop.create_future()
        """It has ended and closed its output, or has printed too much, or nobody wants to know."""
        self.gone: asyncio.Future[None] = loop.create_future()
        self.most_bytes = most_bytes

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        if len(self.output) + len(data) > self.most_bytes:
            self.too_much = True
            self.give_up()
        elif not self.too_much:
            self.output += data

    def give_up(self) -> None:
        """Wait for it no longer."""
        _settle(self.settled)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.give_up()
        _settle(self.gone)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _result(process: asyncio.SubprocessTransport, protocol: _Listener, seconds: float) -> Printed:
    code = process.get_returncode()
    if protocol.too_much:
        return Printed(error=f"printed more than {protocol.most_bytes:,} bytes")
    if code is None or not protocol.gone.done():
        return Printed(error=f"did not end within {seconds:g} seconds")
    if code < 0:
        return Printed(error=f"was ended by signal {-code}")
    if code > 0:
        return Printed(error=f"ended with exit code {code}")
    return Printed(output=bytes(protocol.output))


async def _end(process: asyncio.SubprocessTransport, protocol: _Listener) -> None:
    """See to it that nothing is left of the command, whether it ended by itself or not."""
    if not protocol.gone.done():
        with suppress(OSError):  # it has just ended by itself
            os.killpg(process.get_pid(), signal.SIGKILL)
    process.close()
    await asyncio.wait([protocol.gone], timeout=_LAST_WAIT)
