"""Do the migrations arrive at the declared schema, once, whoever runs them, and refuse what they must?"""

from __future__ import annotations

import re
import secrets
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from maia_sync.clock import SystemClock
from maia_sync.errors import EXIT_DATABASE, DatabaseError, DatabaseNotMigrated, DatabaseTooNew
from maia_sync.store.database import Database
from maia_sync.store.migrations import migrations_folder, upgrade
from maia_sync.store.schema import HEAD, KNOWN_REVISIONS, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Schema = dict[str, dict[str, Any]]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Return a function that makes an empty database of the test's own."""
    made: list[Database] = []
    server = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None

    def new() -> Database:
        name = f"maia_sync_migrations_{secrets.token_hex(4)}"
        url = f"sqlite:///{tmp_path / name}.db" if server is None else _create(server, name)
        made.append(Database(url=url, clock=SystemClock()))
        return made[-1]

    yield new
    for database in made:
        database.close()
        if server is not None:
            _drop(server, database.engine.url.database)


def _create(server: str, name: str) -> str:
    _on_server(server, f"CREATE DATABASE {name}")
    url = sa.make_url(server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def _drop(server: str, name: str | None) -> None:
    _on_server(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _on_server(server: str, statement: str) -> None:
    engine = sa.create_engine(sa.make_url(server).set(drivername="postgresql+psycopg"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def make_from_metadata(database: Database) -> Database:
    with database.transaction() as tx:
        metadata.create_all(tx.connection)
    return database


def run_alembic(database: Database, verb: Callable[..., None], revision: str) -> None:
    with database.transaction() as tx:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = tx.connection
        verb(config, revision)


@contextmanager
def plain_connection(database: Database) -> Iterator[sa.Connection]:
    """Connect as SQLAlchemy does by itself: ours reads `json` as text, which its reflection cannot."""
    engine = sa.create_engine(database.engine.url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def reflect(database: Database) -> Schema:
    """Read the whole schema back as plain values that compare with ==."""
    with plain_connection(database) as connection:
        inspector = sa.inspect(connection)
        return {
            name: {
                "columns": {
                    column["name"]: _column(column, connection.dialect)
                    for column in inspector.get_columns(name)
                },
                "primary key": inspector.get_pk_constraint(name),
                "unique": sorted(inspector.get_unique_constraints(name), key=str),
                "indexes": sorted(map(_index, inspector.get_indexes(name)), key=str),
                "foreign keys": inspector.get_foreign_keys(name),
                "checks": sorted(inspector.get_check_constraints(name), key=str),
                "statements": _statements(connection, name),
            }
            for name in inspector.get_table_names()
            if name != "alembic_version"
        }


def _column(column: Any, dialect: sa.Dialect) -> dict[str, Any]:
    kept = {key: value for key, value in column.items() if key not in ("name", "type")}
    return {**kept, "type": column["type"].compile(dialect=dialect)}


def _index(index: Any) -> dict[str, Any]:
    options = {key: str(value) for key, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}


def _statements(connection: sa.Connection, table: str) -> list[str]:
    """Return the statements that would make the table's indexes; on SQLite the table itself as well."""
    if connection.dialect.name == "sqlite":
        query = "SELECT sql FROM sqlite_master WHERE tbl_name = :table AND sql IS NOT NULL"
    else:
        query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = :table"
    found = connection.execute(sa.text(query), {"table": table}).scalars()
    return sorted(_parts_sorted(re.sub(r"\s+", " ", sql).replace('"', "")) for sql in found)


def _parts_sorted(statement: str) -> str:
    """Put a CREATE TABLE's columns and constraints into one order: a column added later stands last."""
    head, opening, rest = statement.partition("(")
    if not head.startswith("CREATE TABLE"):
        return statement
    parts = re.findall(r"(?:[^,()]|\((?:[^()]|\([^()]*\))*\))+", rest.rpartition(")")[0])
    return f"{head.strip()} {opening}{', '.join(sorted(part.strip() for part in parts))})"


def table_names(database: Database) -> set[str]:
    with database.transaction(write=False) as tx:
        return set(sa.inspect(tx.connection).get_table_names())


def test_alembic_finds_no_difference_between_migrations_and_metadata(
    new_database: Callable[[], Database],
) -> None:
    database = new_database()
    upgrade(database)
    with plain_connection(database) as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    if database.is_postgresql:
        assert differences == []
    else:
        # SQLite has no identity columns to be reflected: its INTEGER PRIMARY KEY is one by nature.
        assert [each for each in differences if not _is_only_identity(each)] == []


def _is_only_identity(difference: Any) -> bool:
    ((kind, _, _, column, _, _, default),) = difference
    return bool(kind == "modify_default" and column == "id" and isinstance(default, sa.Identity))


def test_the_migrated_schema_equals_the_declared_one(new_database: Callable[[], Database]) -> None:
    migrated, declared = new_database(), make_from_metadata(new_database())
    upgrade(migrated)
    schema = reflect(migrated)
    assert set(schema) == set(metadata.tables)
    assert schema == reflect(declared)


def test_the_reflection_sees_a_partial_index_and_a_default(new_database: Callable[[], Database]) -> None:
    """The comparison above is worth something only if it sees what it compares."""
    database = new_database()
    upgrade(database)
    before = reflect(database)
    assert any("canonical IS NOT NULL" in each for each in before["task_event"]["statements"])
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("DROP INDEX ix_task_event_canonical")
        tx.connection.exec_driver_sql(
            'CREATE INDEX ix_task_event_canonical ON task_event (task_id, group_id, "timestamp", canonical)'
        )
    assert reflect(database) != before
    assert before["task"]["columns"]["failures"]["default"] is not None


def test_head_and_the_known_revisions_are_those_of_the_versions_folder() -> None:
    versions = migrations_folder() / "versions"
    script = ScriptDirectory(str(migrations_folder()))
    assert script.get_heads() == [HEAD]
    assert [each.revision for each in reversed([*script.walk_revisions()])] == list(KNOWN_REVISIONS)
    for each in script.walk_revisions():
        assert re.fullmatch(rf"{each.revision}_[a-z0-9_]+\.py", Path(each.path).name)
        assert each.doc
    assert len([*versions.glob("*.py")]) == len(KNOWN_REVISIONS)


def test_every_migration_goes_up_one_by_one(new_database: Callable[[], Database]) -> None:
    database = new_database()
    for revision in KNOWN_REVISIONS:
        run_alembic(database, command.upgrade, revision)
        assert database.read_revision() == revision
    assert reflect(database) == reflect(make_from_metadata(new_database()))


def test_upgrade_is_harmless_to_repeat(new_database: Callable[[], Database]) -> None:
    database = new_database()
    assert upgrade(database) == ""
    with database.transaction() as tx:
        tx.connection.execute(
            sa.insert(metadata.tables["task"]).values(
                task_id="5f9c9b0e-0000-4000-8000-000000000001", status="active", tracked_at=tx.now
            )
        )
    before = reflect(database)
    assert upgrade(database) == HEAD
    assert reflect(database) == before
    with database.transaction(write=False) as tx:
        counted = sa.select(sa.func.count()).select_from(metadata.tables["task"])
        assert tx.connection.execute(counted).scalar_one() == 1
    database.require_migrated()


def test_upgrades_at_once_make_the_tables_once(new_database: Callable[[], Database]) -> None:
    first = new_database()
    url = first.engine.url.render_as_string(hide_password=False)
    databases = [first, *(Database(url=url, clock=SystemClock()) for _ in range(3))]
    together = threading.Barrier(len(databases))
    came_from: list[str] = []
    faults: list[BaseException] = []

    def go(database: Database) -> None:
        together.wait()
        try:
            came_from.append(upgrade(database))
        except BaseException as fault:  # noqa: BLE001 - shown by the assertion below
            faults.append(fault)
        finally:
            database.close()

    threads = [threading.Thread(target=go, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sorted(came_from) == ["", *[HEAD] * 3]
    assert table_names(first) == {*metadata.tables, "alembic_version"}


def test_a_database_without_tables_is_refused(new_database: Callable[[], Database]) -> None:
    database = new_database()
    assert_refused(database, DatabaseNotMigrated, "maia-sync db upgrade")


def test_an_older_database_is_refused(new_database: Callable[[], Database]) -> None:
    database = new_database()
    upgrade(database)
    run_alembic(database, command.downgrade, "base")
    assert_refused(database, DatabaseNotMigrated, "maia-sync db upgrade")


def test_a_newer_database_is_refused_and_left_alone(new_database: Callable[[], Database]) -> None:
    database = new_database()
    upgrade(database)
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = reflect(database)
    assert_refused(database, DatabaseTooNew, "upgrade maia-sync")
    with pytest.raises(DatabaseTooNew, match="9999"):
        upgrade(database)
    assert database.read_revision() == "9999"
    assert reflect(database) == before


def assert_refused(database: Database, error: type[DatabaseError], advice: str) -> None:
    with pytest.raises(error, match=advice) as refusal:
        database.require_migrated()
    assert refusal.value.exit_code == EXIT_DATABASE == 5
    assert "\n" not in str(refusal.value)


def test_a_missing_sqlite_file_is_refused_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.db"
    database = Database(url=f"sqlite:///{path}", clock=SystemClock())
    assert_refused(database, DatabaseNotMigrated, "maia-sync init")
    database.close()
    assert not path.exists()
    database = Database(url="sqlite:///in/nowhere.db", clock=SystemClock())
    assert_refused(
        database, DatabaseNotMigrated, f"no database at {Path.cwd()}/in/nowhere.db: .* from the folder"
    )
    database.close()


def test_a_failing_migration_leaves_nothing_behind(new_database: Callable[[], Database]) -> None:
    """The whole upgrade is one transaction, DDL included, on both databases."""
    database = new_database()
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("CREATE TABLE task_event_revision (in_the_way INTEGER)")
    with pytest.raises(Exception, match=r"."):
        upgrade(database)
    assert table_names(database) == {"task_event_revision"}
    assert database.read_revision() is None


def test_downgrade_drops_everything(new_database: Callable[[], Database]) -> None:
    database = new_database()
    upgrade(database)
    run_alembic(database, command.downgrade, "base")
    assert table_names(database) <= {"alembic_version"}
    assert database.read_revision() is None
    assert upgrade(database) == ""
    assert reflect(database) == reflect(make_from_metadata(new_database()))


@pytest.mark.parametrize("name", ["task_event", "task_event_revision", "checkpoint"])
def test_a_log_table_can_be_distributed_by_task_id(name: str) -> None:
    """Every unique key contains task_id and there is no foreign key, as Citus asks (DESIGN section 4)."""
    table = metadata.tables[name]
    assert table.foreign_keys == set()
    unique = [
        each for each in table.constraints if isinstance(each, sa.UniqueConstraint | sa.PrimaryKeyConstraint)
    ]
    assert unique
    for key in unique:
        assert "task_id" in key.columns, key.name
    for index in table.indexes:
        assert "task_id" in index.columns or not index.unique, index.name


ACROSS_TASKS = {
    "ix_task_event_occurred_at",
    "ix_task_event_error",
    "ix_task_event_revision_superseded_at",
    "ix_task_turn_started_at",
    "ix_task_turn_day",
    "ix_task_activity_day",
}
"""Indexes for questions about all tasks: what happened on that day?"""


@pytest.mark.parametrize(
    "name", ["task_event", "task_event_revision", "checkpoint", "task_turn", "task_activity"]
)
def test_every_access_path_of_a_log_table_leads_with_task_id(name: str) -> None:
    table = metadata.tables[name]
    for path in (table.primary_key, *table.indexes):
        if path.name in ACROSS_TASKS:
            continue
        assert next(iter(path.columns)).name == "task_id", path.name


def test_each_migration_only_adds_so_that_workers_of_the_version_before_can_go_on(
    new_database: Callable[[], Database],
) -> None:
    """What is there stays as it is; what is new may be left out of an INSERT."""
    database = new_database()
    before: dict[str, dict[str, tuple[str, bool]]] = {}
    for revision in KNOWN_REVISIONS:
        run_alembic(database, command.upgrade, revision)
        after = columns_of(database)
        for table, columns in before.items():
            assert after[table].items() >= columns.items(), f"{revision} changes or drops a column of {table}"
            for name in after[table].keys() - columns.keys():
                assert after[table][name][1], f"{revision}: {table}.{name} has to be given by an INSERT"
        before = after


def columns_of(database: Database) -> dict[str, dict[str, tuple[str, bool]]]:
    """Return the type of each column, and whether an INSERT may leave it out."""
    with plain_connection(database) as connection:
        inspector = sa.inspect(connection)
        return {
            table: {
                column["name"]: (
                    str(column["type"]),
                    column["nullable"] or column["default"] is not None or "identity" in column,
                )
                for column in inspector.get_columns(table)
            }
            for table in inspector.get_table_names()
        }
