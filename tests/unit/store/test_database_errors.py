from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg.errors
import pytest
import sqlalchemy.exc
from sqlalchemy import event, text

from maia_sync.clock import SystemClock
from maia_sync.errors import (
    EXIT_DATABASE,
    Bug,
    DatabaseError,
    DatabaseFull,
    DatabaseLost,
    DatabaseUnreachable,
    KeysTaken,
)
from maia_sync.store.database import Database
from maia_sync.store.trouble import Trouble, ends_session, reason_of, trouble_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maia_sync.store.database import Transaction

SECRET = "s3cret-91d4"


def of_sqlite(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorname = name
    return error


BY_SQLSTATE = {
    "08006": Trouble.BROKEN,
    "08P01": Trouble.BROKEN,
    "57P01": Trouble.BROKEN,
    "57P02": Trouble.BROKEN,
    "57P03": Trouble.BROKEN,
    "25P03": Trouble.BROKEN,
    "25006": Trouble.READ_ONLY,
    "40001": Trouble.GIVEN_UP,
    "40P01": Trouble.GIVEN_UP,
    "55P03": Trouble.GIVEN_UP,
    "57014": Trouble.GIVEN_UP,
    "53100": Trouble.FULL,
    "42501": Trouble.DENIED,
    "23505": Trouble.KEY_TAKEN,
    "XX001": Trouble.DAMAGED,
    "42P01": Trouble.OTHER,
    "23502": Trouble.OTHER,
    "54000": Trouble.OTHER,
}
BY_SQLITE_NAME = {
    "SQLITE_BUSY": Trouble.BUSY,
    "SQLITE_BUSY_SNAPSHOT": Trouble.BUSY,
    "SQLITE_LOCKED_SHAREDCACHE": Trouble.BUSY,
    "SQLITE_FULL": Trouble.FULL,
    "SQLITE_IOERR_WRITE": Trouble.NOT_READ_OR_WRITTEN,
    "SQLITE_CANTOPEN_ISDIR": Trouble.NOT_READ_OR_WRITTEN,
    "SQLITE_READONLY": Trouble.NOT_READ_OR_WRITTEN,
    "SQLITE_CORRUPT_INDEX": Trouble.DAMAGED,
    "SQLITE_NOTADB": Trouble.NO_DATABASE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": Trouble.KEY_TAKEN,
    "SQLITE_CONSTRAINT_UNIQUE": Trouble.KEY_TAKEN,
    "SQLITE_CONSTRAINT_NOTNULL": Trouble.OTHER,
    "SQLITE_ERROR": Trouble.OTHER,
}


@pytest.mark.parametrize(("state", "trouble"), BY_SQLSTATE.items())
def test_a_postgresql_error_is_known_by_its_sqlstate(state: str, trouble: Trouble) -> None:
    assert trouble_of(psycopg.errors.lookup(state)("whatever the text says")) is trouble


@pytest.mark.parametrize(("name", "trouble"), BY_SQLITE_NAME.items())
def test_an_sqlite_error_is_known_by_its_name(name: str, trouble: Trouble) -> None:
    assert trouble_of(of_sqlite(name)) is trouble


def test_an_error_without_a_code_is_of_no_known_kind() -> None:
    assert trouble_of(ValueError("57P01")) is Trouble.OTHER
    assert trouble_of(psycopg.OperationalError("the connection is closed")) is Trouble.OTHER


class ServerError(Exception):
    """What psycopg raises, as far as the parts of a server's message go."""

    def __init__(self, primary: str, severity: str = "ERROR") -> None:
        super().__init__(f"{primary}\nDETAIL:  {SECRET}\nCONTEXT:  COPY task_event, line 1: {SECRET}")
        self.diag = SimpleNamespace(message_primary=primary, severity_nonlocalized=severity)


def test_of_a_servers_error_only_the_message_proper_is_told_as_the_rest_can_hold_a_row() -> None:
    assert reason_of(ServerError("canceling statement due to user request")) == (
        "canceling statement due to user request"
    )


def test_a_drivers_reason_is_one_line_and_names_every_address_that_was_tried() -> None:
    assert reason_of(psycopg.OperationalError("server closed it\n\tThis probably means ...")) == (
        "server closed it"
    )
    tried = "All failures were:\n- host: 'a': refused\n- host: 'b': refused"
    assert reason_of(psycopg.OperationalError(tried)) == (
        "All failures were: - host: 'a': refused - host: 'b': refused"
    )
    assert reason_of(psycopg.OperationalError()) == "OperationalError"


def test_a_fatal_error_ends_the_session_whatever_its_code() -> None:
    assert ends_session(ServerError("out of shared memory", "FATAL"))
    assert ends_session(ServerError("could not write to the log", "PANIC"))
    assert not ends_session(ServerError("division by zero"))
    assert ends_session(psycopg.errors.AdminShutdown("terminating connection"))


# ------------------------------------------------------------------------------ from a driver's error to ours


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = Database(url=f"sqlite:///{tmp_path / 'a.db'}", clock=SystemClock(), busy_timeout=7)
    yield database
    database.close()


@pytest.fixture
def postgresql() -> Database:
    """Return a database that is never connected to."""
    url = f"postgresql+psycopg://me:{SECRET}@localhost:1/db?sslpassword={SECRET}"
    return Database(url=url, clock=SystemClock())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("SQLITE_BUSY", DatabaseLost, "was locked by another process for more than 7 seconds"),
        ("SQLITE_FULL", DatabaseFull, "there is no room left on the disk that holds the database at sqlite:"),
        ("SQLITE_IOERR_FSYNC", DatabaseUnreachable, "cannot be used: what SQLite says"),
        ("SQLITE_CANTOPEN", DatabaseUnreachable, "cannot be used: what SQLite says"),
        ("SQLITE_CORRUPT", DatabaseError, "is damaged: what SQLite says"),
        ("SQLITE_NOTADB", DatabaseError, "is not an SQLite database: see database.url"),
        ("SQLITE_CONSTRAINT_UNIQUE", KeysTaken, "are stored already"),
        ("SQLITE_ERROR", DatabaseError, "cannot be used: what SQLite says"),
    ],
)
def test_each_kind_of_trouble_with_sqlite_has_its_error(
    sqlite: Database, name: str, kind: type[Exception], words: str
) -> None:
    error = sqlite._ours(of_sqlite(name))
    assert type(error) is kind
    assert words in str(error)


def test_an_input_or_output_error_on_a_disk_without_room_is_a_full_disk(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    assert type(sqlite._ours(of_sqlite("SQLITE_IOERR_SHMSIZE"))) is DatabaseFull


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("25006", DatabaseLost, "takes no changes just now: because"),
        ("40001", DatabaseLost, "gave a transaction up: because"),
        ("53100", DatabaseFull, "there is no room left on the disk of the database server at postgresql"),
        ("42501", DatabaseError, "may not do this: because"),
        ("54000", DatabaseError, "cannot be used: because"),
        ("23505", KeysTaken, "are stored already"),
        ("23502", Bug, "refused a statement of ours: NotNullViolation"),
        ("42601", Bug, "refused a statement of ours: SyntaxError"),
        ("22P02", DatabaseError, "failed: InvalidTextRepresentation"),
    ],
)
def test_each_kind_of_trouble_with_postgresql_has_its_error(
    postgresql: Database, state: str, kind: type[Exception], words: str
) -> None:
    error = postgresql._ours(psycopg.errors.lookup(state)("because"))
    assert type(error) is kind
    assert words in str(error)


def test_a_pool_whose_connections_all_hang_is_unreachable(postgresql: Database) -> None:
    error = postgresql._unconnected(sqlalchemy.exc.TimeoutError("QueuePool limit"))
    assert type(error) is DatabaseUnreachable
    assert str(error).endswith("cannot be used: none of our connections became free in time")


def test_no_message_tells_a_password_of_the_url_wherever_it_stands(postgresql: Database) -> None:
    assert postgresql.place == "postgresql+psycopg://me:***@localhost:1/db"
    with pytest.raises(DatabaseUnreachable) as caught, postgresql.transaction():
        pass
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_can_be_tried_again_is_unreachable_and_ends_with_the_databases_exit_code() -> None:
    lost = DatabaseLost("it broke")
    assert isinstance(lost, DatabaseUnreachable)
    assert not lost.commit_unknown
    assert DatabaseLost("it broke", commit_unknown=True).commit_unknown
    assert not issubclass(DatabaseFull, DatabaseUnreachable)
    assert {kind.exit_code for kind in (DatabaseLost, DatabaseUnreachable, DatabaseFull)} == {EXIT_DATABASE}


# ------------------------------------------------------------------------------ as SQLite itself raises them


def test_a_file_in_a_folder_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    database = Database(url=f"sqlite:///{tmp_path / 'missing' / 'a.db'}", clock=SystemClock())
    with pytest.raises(DatabaseUnreachable, match="cannot be used: unable to open"), database.transaction():
        pass


def test_a_file_that_is_something_else_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("some notes\n" * 1000)
    database = Database(url=f"sqlite:///{path}", clock=SystemClock())
    with pytest.raises(DatabaseError, match="is not an SQLite database"), database.transaction():
        pass
    database.close()


def test_a_missing_table_is_nothing_that_passes_by_itself(sqlite: Database) -> None:
    with pytest.raises(DatabaseError) as caught, sqlite.transaction() as tx:
        tx.connection.execute(text("SELECT * FROM nowhere"))
    assert type(caught.value) is DatabaseError


def test_an_error_of_ours_leaves_a_transaction_as_it_is_and_undoes_it(sqlite: Database) -> None:
    with sqlite.transaction() as tx:
        tx.connection.execute(text("CREATE TABLE written (n INTEGER)"))

    def steps(tx: Transaction) -> None:
        tx.connection.execute(text("INSERT INTO written VALUES (1)"))
        raise KeysTaken("mine")

    with pytest.raises(KeysTaken, match="mine"), sqlite.transaction() as tx:
        steps(tx)
    with sqlite.transaction(write=False) as tx:
        assert tx.connection.execute(text("SELECT count(*) FROM written")).scalar_one() == 0


def test_sqlite_waits_for_a_lock_as_long_as_it_is_told_to(sqlite: Database) -> None:
    with sqlite.transaction() as tx:
        assert tx.connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 7000


def synchronous(database: Database, **options: Any) -> int:
    with database.transaction(**options) as tx:
        return int(tx.connection.exec_driver_sql("PRAGMA synchronous").scalar_one())


def test_a_durable_transaction_is_synced_and_the_next_is_as_before_even_if_it_failed(
    sqlite: Database,
) -> None:
    assert synchronous(sqlite) == 1
    assert synchronous(sqlite, durable=True) == 2
    assert synchronous(sqlite) == 1
    with pytest.raises(KeysTaken), sqlite.transaction(durable=True):
        raise KeysTaken("in the middle")
    assert synchronous(sqlite) == 1
    assert synchronous(sqlite, durable=True) == 2
    assert synchronous(sqlite, durable=True) == 2


def test_p5_what_sqlite_cannot_commit_is_undone_and_does_not_trouble_the_next_transaction(
    tmp_path: Path,
) -> None:
    """SQLite leaves a transaction open whose COMMIT fails; a server undoes it."""
    database = Database(url=f"sqlite:///{tmp_path / 'of_two.db'}", clock=SystemClock(), connections=1)
    event.listen(database.engine, "connect", lambda driver, _: driver.execute("PRAGMA foreign_keys = ON"))
    with database.transaction() as tx:
        tx.connection.execute(text("CREATE TABLE whole (id INTEGER PRIMARY KEY)"))
        tx.connection.execute(
            text("CREATE TABLE part (of_whole INTEGER REFERENCES whole DEFERRABLE INITIALLY DEFERRED)")
        )
    with pytest.raises(Bug), database.transaction() as tx:  # refused by COMMIT, not before
        tx.connection.execute(text("INSERT INTO part VALUES (1)"))
    with database.transaction() as tx:
        assert tx.connection.execute(text("SELECT count(*) FROM part")).scalar() == 0
    database.close()
