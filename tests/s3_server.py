"""Where does a test get an S3? moto's server, in a process of its own on loopback: slow to load, so once."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCESS_KEY = "AKIAC4NARYACCESSKEY1"
SECRET_KEY = "c4nary-secret-access-key"
_PATIENCE = 60.0


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Yield the address of an S3 that has no bucket yet."""
    with tempfile.NamedTemporaryFile() as said:
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + _PATIENCE
            while (told := re.search(r"http://127\.0\.0\.1:\d+", Path(said.name).read_text())) is None:
                assert process.poll() is None, "moto's server has ended"
                assert time.monotonic() < deadline, "moto's server does not begin"
                time.sleep(0.02)
            yield told[0]
        finally:
            process.kill()
            process.wait()


def make_bucket(address: str, name: str) -> None:
    request = urllib.request.Request(f"{address}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def environ_of(address: str) -> dict[str, str]:
    """Return what the environment of a program must hold that uses this S3."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }
