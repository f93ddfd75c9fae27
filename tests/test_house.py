"""Does the code keep the house? Floors, sizes, names, and one place for each foreign thing.

Everything is read from syntax trees, nothing is imported. Each rule is a function from modules to
breaches (`file:line: what is wrong`), so that the last test can show each of them a breach.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "maia_sync"

FLOORS = (
    "version",
    "errors",
    "clock",
    "model",
    "page_events",
    "facet_settings",
    "settings",
    "json_path",
    "config_addresses",
    "config_keys",
    "config",
    "maia",
    "store",
    "sync",
    "archive",
    "analytics",
    "report",
    "service",
    "web",
    "sandbox",
    "app",
    "serving",
    "demo",
    "cli",
    "__main__",
)
"""From the ground up: a module imports only from floors above it in this list, or from its own."""

LONGEST_MODULE = 500
LONGEST_FUNCTION = 60
FORBIDDEN_WORDS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}
TIME_READERS = {"now", "utcnow", "today", "call_later", "call_at"}
HTTP_LIBRARIES = {"httpx", "httpcore", "requests", "aiohttp", "urllib.request", "urllib3", "http.client"}
DATABASE_LIBRARIES = {"sqlalchemy", "alembic", "sqlite3", "psycopg"}
SPEAKERS = ("httpx", "httpcore", "aiohttp")
HTTP_ERRORS = re.compile(
    r"\w*(Error|Exception|Timeout|Redirects|Conflict|InvalidURL|Consumed|Closed|NotRead)"
)
DRIVER_ERRORS = re.compile(r"\w*(Error|errors|Warning|Violation)")


@dataclass(frozen=True)
class Import:
    """One name that a module imports; a module of ours is named as far as it is one."""

    target: str
    line: int
    for_types_only: bool


def _last_name(node: ast.expr) -> str:
    """Return how the name ends that an expression is: `import_module` of `importlib.import_module`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@dataclass(frozen=True)
class Module:
    """One module of the package as its syntax tree."""

    path: str
    source: str
    known: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def _all_nodes(self) -> list[ast.AST]:
        """Every node of the tree: walking it takes longer than all that the rules do."""
        return list(ast.walk(self.tree))

    @cached_property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def floor(self) -> str:
        """The entry of FLOORS that it belongs to; "" for the package's own __init__."""
        return self.name.split(".")[1] if "." in self.name else ""

    def at(self, line: int, breach: str) -> str:
        return f"{self.path}:{line}: {breach}"

    @cached_property
    def imports(self) -> list[Import]:
        """Every import: inside functions and under TYPE_CHECKING too."""
        typing_only = {
            id(node)
            for block in self._all_nodes
            if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
            for statement in block.body
            for node in ast.walk(statement)
        }
        return [
            Import(target, node.lineno, id(node) in typing_only)
            for node in self._all_nodes
            if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
            for target in self._targets(node)
        ]

    def _targets(self, node: ast.Import | ast.ImportFrom | ast.Call) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = self.path.removesuffix(".py").split("/")
            above = parts[: len(parts) - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                ours = origin.split(".")[0] == PACKAGE
                yield whole if not ours or whole in self.known else origin
        elif _last_name(node.func).endswith("import_module") and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)

    def imports_any(self, libraries: set[str]) -> Iterator[Import]:
        for each in self.imports:
            if any(each.target == name or each.target.startswith(f"{name}.") for name in libraries):
                yield each

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in self._all_nodes if isinstance(node, kinds))

    def attributes(self) -> list[tuple[str, ast.Attribute]]:
        """Return every dotted access as text (`asyncio.sleep`) with its node."""
        return self._attributes

    @cached_property
    def _attributes(self) -> list[tuple[str, ast.Attribute]]:
        return [(ast.unparse(node), node) for node in self._all_nodes if isinstance(node, ast.Attribute)]


Rule = Callable[[list[Module]], Iterator[str]]


def read_package() -> list[Module]:
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    return make_modules({str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths})


def make_modules(sources: dict[str, str]) -> list[Module]:
    known = frozenset(Module(path, "").name for path in sources)
    return [Module(path, source, known) for path, source in sources.items()]


# Floors


def imports_go_down(modules: list[Module]) -> Iterator[str]:
    """A module imports only from floors above it in the list of DESIGN section 6."""
    for module in modules:
        if module.floor and module.floor not in FLOORS:
            yield module.at(1, f"floor {module.floor} is not in the house's list: give it its place")
            continue
        for each in module.imports_any({PACKAGE}):
            floor = [*each.target.split("."), ""][1]
            if not module.floor or not floor or floor == module.floor:
                continue
            if floor not in FLOORS or FLOORS.index(floor) > FLOORS.index(module.floor):
                yield module.at(each.line, f"{module.floor} must not import {each.target}, a higher floor")


def imports_make_no_circle(modules: list[Module]) -> Iterator[str]:
    """No module imports itself by way of others, under TYPE_CHECKING neither."""
    edges = {
        module.name: {
            each.target: each for each in module.imports_any({PACKAGE}) if each.target in module.known
        }
        for module in modules
    }
    by_name = {module.name: module for module in modules}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> Iterator[str]:
        for target, each in edges.get(name, {}).items():
            if target in trail:
                circle = " -> ".join((*trail[trail.index(target) :], target))
                yield by_name[name].at(each.line, f"imports run in a circle: {circle}")
            elif target not in done:
                yield from visit(target, (*trail, target))
        done.add(name)

    for name in edges:
        if name not in done:
            yield from visit(name, (name,))


def columns_stay_apart(modules: list[Module]) -> Iterator[str]:
    """maia/ knows no database, store/ no HTTP; only sync/ and the composition root see both."""
    for module in modules:
        if module.floor == "maia":
            foreign = [*module.imports_any(DATABASE_LIBRARIES | {f"{PACKAGE}.store"})]
        elif module.floor == "store":
            foreign = [*module.imports_any(HTTP_LIBRARIES | {f"{PACKAGE}.maia"})]
        else:
            foreign = []
            both = [[*module.imports_any({f"{PACKAGE}.{column}"})] for column in ("maia", "store")]
            if all(both) and module.floor not in ("sync", "app", "serving"):
                foreign = both[1]
        for each in foreign:
            yield module.at(
                each.line, f"must not import {each.target}: the API and the data meet in sync/ only"
            )


def libraries_stay_in_their_column(modules: list[Module]) -> Iterator[str]:
    """At run time maia/ alone uses HTTP, store/ alone a database, service/daemon.py alone APScheduler."""
    homes = (
        (HTTP_LIBRARIES, f"{PACKAGE}/maia/"),
        (DATABASE_LIBRARIES, f"{PACKAGE}/store/"),
        ({"apscheduler"}, f"{PACKAGE}/service/daemon.py"),
    )
    for module in modules:
        for libraries, home in homes:
            for each in module.imports_any(libraries):
                if not module.path.startswith(home) and not each.for_types_only:
                    yield module.at(each.line, f"must not import {each.target}: {home} alone does")


def sandbox_shares_nothing_with_the_wire(modules: list[Module]) -> Iterator[str]:
    """The stand-in API writes its JSON by hand: a shared mistake would hide."""
    columns = {f"{PACKAGE}.{floor}" for floor in ("maia", "store", "sync")}
    for module in modules:
        if module.floor == "sandbox":
            for each in module.imports_any(columns):
                yield module.at(each.line, f"the sandbox must not import {each.target}")


# One place for each foreign thing


def only_the_clock_reads_time(modules: list[Module]) -> Iterator[str]:
    """clock.py alone reads the time or sleeps; `asyncio.sleep(0)`, a turn for others, is no sleep."""
    for module in modules:
        if module.floor == "clock":
            continue
        for each in module.imports_any({"time"}):
            yield module.at(each.line, "only clock.py imports time")
        for each in module.imports_any({"asyncio.sleep", "anyio.sleep"}):
            yield module.at(each.line, "only clock.py sleeps")
        for node in module.nodes(ast.Call):
            assert isinstance(node, ast.Call)
            called = ast.unparse(node.func)
            owner, _, verb = called.rpartition(".")
            if verb == "sleep" and owner in ("asyncio", "anyio"):
                if ast.unparse(node.args[0]) != "0":
                    yield module.at(node.lineno, "only clock.py sleeps")
            elif verb in TIME_READERS and not owner.lower().endswith(("clock", "tx", "func")):
                yield module.at(node.lineno, f"only clock.py reads time: {called}()")


def only_config_reads_the_environment(modules: list[Module]) -> Iterator[str]:
    """config.py alone reads environment variables and TOML."""
    for module in modules:
        if module.floor == "config":
            continue
        for text, node in module.attributes():
            if text in ("os.environ", "os.environb", "os.getenv", "os.getenvb"):
                yield module.at(node.lineno, f"only config.py reads the environment: {text}")
        for each in module.imports_any({"tomllib", "os.environ", "os.getenv"}):
            yield module.at(each.line, f"only config.py reads the configuration: {each.target}")


def foreign_errors_are_converted_in_one_place(modules: list[Module]) -> Iterator[str]:
    """Errors of what speaks HTTP are named in its maia/over_*.py alone, of databases in store/database.py."""
    homes = (
        *((library, HTTP_ERRORS, f"{PACKAGE}/maia/over_{library}.py") for library in SPEAKERS),
        ("sqlalchemy", re.compile(r"exc|\w*(Error|NotFound|Found|Warning)"), f"{PACKAGE}/store/database.py"),
        ("sqlite3", DRIVER_ERRORS, f"{PACKAGE}/store/database.py"),
        ("psycopg", DRIVER_ERRORS, f"{PACKAGE}/store/database.py"),
    )
    for module in modules:
        named = [(each.target, each.line) for each in module.imports]
        named += [(text, node.lineno) for text, node in module.attributes()]
        for library, errors, home in homes:
            if module.path == home:
                continue
            for text, line in named:
                owner, *rest = text.split(".")
                if owner == library and any(errors.fullmatch(part) for part in rest):
                    yield module.at(line, f"only {home} knows {text}")


def only_database_opens_transactions(modules: list[Module]) -> Iterator[str]:
    """`Database.transaction()` alone begins, commits and rolls back."""
    for module in modules:
        if module.path == f"{PACKAGE}/store/database.py":
            continue
        for node in module.nodes(ast.Call):
            assert isinstance(node, ast.Call)
            verb = ast.unparse(node.func).rpartition(".")[2]
            if verb in ("begin", "begin_nested", "commit", "rollback", "begin_twophase"):
                yield module.at(node.lineno, f"only store/database.py opens and ends transactions: {verb}()")


# Shape


def modules_are_short(modules: list[Module]) -> Iterator[str]:
    """No module is longer than 500 lines."""
    for module in modules:
        lines = len(module.source.splitlines())
        if lines > LONGEST_MODULE:
            yield module.at(lines, f"the module has {lines} lines, {LONGEST_MODULE} are the most")


def functions_are_short(modules: list[Module]) -> Iterator[str]:
    """No function is longer than 60 lines, its docstring apart."""
    for module in modules:
        for node in module.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            lines = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) is not None else 0)
            if lines > LONGEST_FUNCTION:
                yield module.at(
                    node.lineno, f"{node.name} has {lines} lines, {LONGEST_FUNCTION} are the most"
                )


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def names_say_something(modules: list[Module]) -> Iterator[str]:
    """No module or class is a drawer for odds and ends."""
    for module in modules:
        for part in module.name.split("."):
            yield from (
                module.at(1, f"a module must not be named {word}")
                for word in FORBIDDEN_WORDS.intersection(part.lower().split("_"))
            )
        for node in module.nodes(ast.ClassDef):
            assert isinstance(node, ast.ClassDef)
            words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", node.name)}
            for word in words & FORBIDDEN_WORDS:
                yield module.at(node.lineno, f"class {node.name} is named after the word {word}")


def values_are_frozen(modules: list[Module]) -> Iterator[str]:
    """Every struct but the wire's own is frozen, and so is every dataclass."""
    thawed_is_fine = {f"{PACKAGE}/maia/wire.py", f"{PACKAGE}/maia/problem.py"}
    for module in modules:
        frozen: set[str] = set()
        structs = {"msgspec.Struct", "Struct"}
        for node in module.nodes(ast.ClassDef):
            assert isinstance(node, ast.ClassDef)
            bases = {ast.unparse(parent) for parent in node.bases}
            if bases & structs:
                structs.add(node.name)
                if _says_frozen(node.keywords) or bases & frozen:
                    frozen.add(node.name)
                elif module.path not in thawed_is_fine:
                    yield module.at(node.lineno, f"struct {node.name} is not frozen")
            for decorator in node.decorator_list:
                made = ast.unparse(decorator).split("(")[0] in ("dataclass", "dataclasses.dataclass")
                says = isinstance(decorator, ast.Call) and _says_frozen(decorator.keywords)
                lives = (module.path, node.name) == (f"{PACKAGE}/sandbox/world.py", "World")
                if made and not says and not lives:
                    yield module.at(node.lineno, f"dataclass {node.name} is not frozen")


def _says_frozen(keywords: list[ast.keyword]) -> bool:
    return any(keyword.arg == "frozen" and ast.unparse(keyword.value) == "True" for keyword in keywords)


def modules_say_what_they_answer(modules: list[Module]) -> Iterator[str]:
    """Every module's docstring begins with a line that says what question it answers."""
    for module in modules:
        first = (ast.get_docstring(module.tree, clean=False) or "").split("\n", 1)[0]
        if len(first.split()) < 3 or not first.rstrip().endswith((".", "?")):
            yield module.at(1, "the module's first docstring line does not say what it answers")


RULES: tuple[Rule, ...] = (
    imports_go_down,
    imports_make_no_circle,
    columns_stay_apart,
    libraries_stay_in_their_column,
    sandbox_shares_nothing_with_the_wire,
    only_the_clock_reads_time,
    only_config_reads_the_environment,
    foreign_errors_are_converted_in_one_place,
    only_database_opens_transactions,
    modules_are_short,
    functions_are_short,
    names_say_something,
    values_are_frozen,
    modules_say_what_they_answer,
)


@pytest.fixture(scope="module")
def package() -> list[Module]:
    """Return the package's modules, parsed once for all rules."""
    modules = read_package()
    assert modules, "no module of the package was found"
    return modules


def test_imports_go_down_the_floors(package: list[Module]) -> None:
    require(imports_go_down, package)


def test_imports_make_no_circle(package: list[Module]) -> None:
    require(imports_make_no_circle, package)


def test_the_api_and_the_data_meet_in_sync_only(package: list[Module]) -> None:
    require(columns_stay_apart, package)


def test_http_database_and_scheduler_libraries_stay_where_they_belong(package: list[Module]) -> None:
    require(libraries_stay_in_their_column, package)


def test_the_sandbox_shares_nothing_with_the_wire(package: list[Module]) -> None:
    require(sandbox_shares_nothing_with_the_wire, package)


def test_only_the_clock_reads_time_and_sleeps(package: list[Module]) -> None:
    require(only_the_clock_reads_time, package)


def test_only_config_reads_toml_and_the_environment(package: list[Module]) -> None:
    require(only_config_reads_the_environment, package)


def test_foreign_errors_are_converted_in_one_place_per_library(package: list[Module]) -> None:
    require(foreign_errors_are_converted_in_one_place, package)


def test_only_the_database_opens_transactions(package: list[Module]) -> None:
    require(only_database_opens_transactions, package)


def test_modules_are_short(package: list[Module]) -> None:
    require(modules_are_short, package)


def test_functions_are_short(package: list[Module]) -> None:
    require(functions_are_short, package)


def test_names_say_something(package: list[Module]) -> None:
    require(names_say_something, package)


def test_values_are_frozen(package: list[Module]) -> None:
    require(values_are_frozen, package)


def test_every_module_says_what_question_it_answers(package: list[Module]) -> None:
    require(modules_say_what_they_answer, package)


def require(rule: Rule, modules: list[Module]) -> None:
    breaches = sorted(rule(modules))
    assert not breaches, "\n".join([f"{rule.__doc__}", *breaches])


WORKPLACE = re.compile(
    "|".join(("(?<![\\w.~-])/" + "work/", "\\.\\./" + "shared", "/\\." + "library", "/tmp" + "/v/"))
)
"""Paths of the place where this was written, put together so that this file does not hold them."""


def test_no_tracked_file_names_the_place_where_it_was_written() -> None:
    breaches = [
        f"{path}:{number}: names a place outside this repository"
        for path in _files()
        for number, line in enumerate(_text(path).splitlines(), 1)
        if WORKPLACE.search(line)
    ]
    assert not breaches, "\n".join(breaches)


def _files() -> list[str]:
    """The files of the repository, those included that will be added next."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [path for path in listed.splitlines() if (ROOT / path).is_file()]


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


LONG = "\n".join(["x = 1"] * 70)
BREACHES: tuple[tuple[Rule, str, str], ...] = (
    (imports_go_down, "store/rows.py", "def late() -> None:\n    from maia_sync.sync import walk"),
    (imports_go_down, "store/rows.py", "import maia_sync.app"),
    (imports_go_down, "store/rows.py", "from ..sync import walk"),
    (imports_go_down, "attic/rows.py", "import sys"),
    (imports_make_no_circle, "sync/walk.py", "if TYPE_CHECKING:\n    from maia_sync.sync.turn import Turn"),
    (columns_stay_apart, "maia/client.py", "from maia_sync.store import rows"),
    (columns_stay_apart, "maia/client.py", "import sqlalchemy.orm"),
    (columns_stay_apart, "store/rows.py", "from maia_sync.maia.wire import decode_page"),
    (columns_stay_apart, "store/rows.py", "if TYPE_CHECKING:\n    import httpx"),
    (columns_stay_apart, "cli/main.py", "import maia_sync.store.rows\nimport maia_sync.maia.wire"),
    (libraries_stay_in_their_column, "sync/walk.py", "from sqlalchemy import select"),
    (libraries_stay_in_their_column, "cli/main.py", "import httpx"),
    (libraries_stay_in_their_column, "service/polling.py", "from apscheduler.triggers import interval"),
    (sandbox_shares_nothing_with_the_wire, "sandbox/server.py", "from maia_sync.maia import wire"),
    (only_the_clock_reads_time, "sync/walk.py", "import time"),
    (only_the_clock_reads_time, "sync/walk.py", "datetime.now(UTC)"),
    (only_the_clock_reads_time, "sync/walk.py", "await asyncio.sleep(0.1)"),
    (only_the_clock_reads_time, "sync/walk.py", "from asyncio import sleep"),
    (only_config_reads_the_environment, "cli/main.py", "os.environ['HOME']"),
    (only_config_reads_the_environment, "cli/main.py", "import tomllib"),
    (foreign_errors_are_converted_in_one_place, "sync/walk.py", "httpx.ReadTimeout"),
    (foreign_errors_are_converted_in_one_place, "maia/auth.py", "from httpx import HTTPError"),
    (foreign_errors_are_converted_in_one_place, "store/rows.py", "from sqlalchemy.exc import DBAPIError"),
    (foreign_errors_are_converted_in_one_place, "store/rows.py", "sqlite3.OperationalError"),
    (foreign_errors_are_converted_in_one_place, "store/rows.py", "import psycopg.errors"),
    (only_database_opens_transactions, "store/rows.py", "tx.connection.commit()"),
    (modules_are_short, "sync/walk.py", "\n".join([LONG] * 8)),
    (functions_are_short, "sync/walk.py", "async def walk() -> None:\n" + LONG.replace("x", "    x")),
    (names_say_something, "sync/walk_utils.py", ""),
    (names_say_something, "sync/walk.py", "class HTTPManager:\n    pass"),
    (values_are_frozen, "model.py", "class Event(msgspec.Struct, kw_only=True):\n    pass"),
    (values_are_frozen, "model.py", "@dataclass\nclass Event:\n    pass"),
    (modules_say_what_they_answer, "sync/walk.py", "import sys"),
)
FINE = {
    "__init__.py": '"""What is this: a package in good order."""',
    "store/rows.py": '"""Which rows are there?"""\nfrom maia_sync.errors import Bug\nimport sqlalchemy',
    "sync/walk.py": '"""How is one walked?"""\nfrom maia_sync.store import rows\nawait asyncio.sleep(0)',
    "sync/turn.py": '"""Whose turn is it?"""\nfrom maia_sync.sync.walk import Walk',
    "errors.py": '"""What can go wrong, and then?"""',
    "maia/wire.py": '"""What do the bytes say?"""\nclass _Page(msgspec.Struct):\n    pass',
}


@pytest.mark.parametrize(
    ("rule", "path", "source"), BREACHES, ids=lambda value: getattr(value, "__name__", None)
)
def test_each_rule_sees_its_breach(rule: Rule, path: str, source: str) -> None:
    fine = {f"{PACKAGE}/{name}": text for name, text in FINE.items()}
    assert [*rule(make_modules(fine))] == []
    broken = {**fine, f"{PACKAGE}/{path}": source}
    assert any(re.match(rf"{PACKAGE}/\S+\.py:\d+: ", breach) for breach in rule(make_modules(broken)))


def test_every_rule_has_been_shown_a_breach() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)
