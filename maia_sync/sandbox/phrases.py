"""Of which pieces are the agents' stories made? Ready-made JSON text: users, tools, remarks, failures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from itertools import product

AGENTS = ("data-engineer", "pipeline-reviewer", "migration-assistant", "data-quality")
MODELS = ("maia-large-2026-01", "maia-swift-2026-01", "claude-sonnet-4-5")
USERS = tuple(
    f'"userId":"usr_{number:04d}","userName":"{name}"'
    for number, name in enumerate(
        ("Ana Petrova", "Jürgen Groß", "Priya Raman", "Tomás Núñez", "山田 太郎", "Olu Adeyemi"), start=101
    )
)
TABLES = ("orders", "customers", "invoices", "web_events", "stock_levels", "exchange_rates", "returns")
STAGES = ("raw", "staging", "curated", "reporting")

REQUESTS = tuple(
    json.dumps(text.format(table=table), ensure_ascii=ascii_only)
    for table, (text, ascii_only) in product(
        TABLES,
        (
            ("Load {table} from the landing bucket into the warehouse every morning at six, please.", False),
            ("Why did last night's run of “{table}” fail? Fix it if you can, but ask before you drop.", True),
            ("Build a curated model of {table}: one row per key, latest version wins.\nKeep history.", False),
            (
                "Add a check that {table} never has a null key, and tell me how many rows break it today.",
                False,
            ),
            ("The dashboard on {table} is slow: find out where the time goes. Größe ist egal 🚀", False),
        ),
    )
)

TROUBLES = tuple(
    f'"severity":"{severity}","code":"{code}","message":"{text}","retryable":{retryable}'
    for severity, code, text, retryable in (
        ("warning", "TOOL_RETRY", "The tool failed; I will try once more with smaller batches.", "true"),
        ("error", "STEP_ABANDONED", "This step cannot be done with the permissions that I have.", "false"),
        ("warning", "CONTEXT_TRIMMED", "Older parts of the conversation were left out.", "true"),
        ("error", "BRANCH_CONFLICT", 'The target branch has moved; \\"git pull\\" is needed.', "false"),
    )
)

FAILURES = tuple(
    f'"error":{{"code":"{code}","message":"{text}","attempt":{attempt}}}'
    for (code, text), attempt in product(
        (
            (
                "SQL_COMPILATION",
                "SQL compilation error: invalid identifier 'UPDATED_AT' at line 4, position 11",
            ),
            ("TIMEOUT", "The statement was cancelled after 300 s; the warehouse was queueing 14 statements."),
            ("PERMISSION_DENIED", 'Role TRANSFORMER has no privilege CREATE TABLE on schema \\"CURATED\\".'),
            ("CONNECTION_LOST", "The agent container lost its connection (os error 104)\\n\\tat Client.read"),
        ),
        (1, 2, 3),
    )
)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool of the agents: its name, what it is called with and what it gives back, as JSON text."""

    name: str
    mean_milliseconds: int
    failure_rate: float
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    """Members of the result's object."""


@cache
def remarks() -> tuple[str, ...]:
    """Return what agents say between their steps, as JSON strings."""
    openings = (
        "I looked at {stage}.{table} first: the key is `id`, and 3 columns changed their type last week.",
        "The table {stage}.{table} is loaded in full each night, which is what makes the run slow.",
        "Done: {stage}.{table} now merges on its key instead of being rebuilt.",
        "Before I change {stage}.{table} I want to be sure that nobody reads it between 06:00 and 06:30 UTC.",
    )
    endings = (
        (
            " Next I will write the transformation, run it on a sample of 10,000 rows and compare the totals "
            "with yesterday's. If they differ by more than 0.1 % I stop and ask."
        ),
        (
            "\n\n- rows read: 48,211\n- rows written: 48,190\n- rows refused: 21 (no key)\n\nRefused rows "
            "are kept beside the target, so nothing is lost; say so if you want them dropped."
        ),
        (
            " The pipeline validates; there are no warnings left. I have not published it: that needs your "
            "word, because three schedules depend on it ✅"
        ),
    )
    places = product(STAGES, TABLES)
    return tuple(
        json.dumps(opening.format(stage=stage, table=table) + ending, ensure_ascii=False)
        for (stage, table), opening, ending in product(places, openings, endings)
    )


@cache
def plans() -> tuple[str, ...]:
    """Return agents' plans, as JSON arrays of steps."""
    return tuple(
        json.dumps(
            [
                {"title": f"Inspect {stage}.{table} and its upstream sources", "status": "done"},
                {"title": f"Write the transformation of {table}", "status": "in_progress"},
                {"title": "Validate the pipeline and run it on a sample", "status": "pending"},
                {"title": "Compare row counts with yesterday, then ask for approval", "status": "pending"},
            ],
            separators=(",", ":"),
        )
        for stage, table in product(STAGES, TABLES)
    )


@cache
def tools() -> tuple[Tool, ...]:
    """Return the agents' tools."""
    return (_execute_sql(), _list_columns(), _edit_pipeline(), _run_pipeline(), _search_docs())


def _execute_sql() -> Tool:
    sql = (
        "SELECT status,\n       count(*) AS n,\n       max(updated_at) AS latest\nFROM {stage}.{table}\n"
        "WHERE loaded_at >= dateadd('day', -{days}, current_date)\nGROUP BY status\nORDER BY n DESC\nLIMIT 50"
    )
    return Tool(
        name="execute_sql",
        mean_milliseconds=2400,
        failure_rate=0.12,
        arguments=tuple(
            json.dumps({"sql": sql.format(stage=stage, table=table, days=days), "warehouse": "TRANSFORM_WH"})
            for stage, table, days in product(STAGES, TABLES, (1, 7, 30))
        ),
        results=tuple(
            f'"rowCount":3,"rows":[["shipped",{9000 + n * 17},"2026-01-0{n}T04:12:0{n}Z"],'
            f'["open",{n}12,null],["returned",{n}.50,"2025-12-3{n % 2}T23:59:59.99{n}Z"]],'
            f'"bytesScanned":{n * 73}e6,"cached":false'
            for n in range(1, 10)
        ),
    )


def _list_columns() -> Tool:
    columns = ("id NUMBER(38,0)", "status VARCHAR(16)", "amount NUMBER(12,2)", "updated_at TIMESTAMP_NTZ(9)")
    return Tool(
        name="list_columns",
        mean_milliseconds=350,
        failure_rate=0.02,
        arguments=tuple(
            f'{{"schema":"{stage.upper()}","table":"{table.upper()}"}}'
            for stage, table in product(STAGES, TABLES)
        ),
        results=tuple(
            f'"columns":{json.dumps([*columns, f"{table}_key VARCHAR(64)", "loaded_at TIMESTAMP_TZ(9)"])}'
            f',"primaryKey":["id"],"comment":null'
            for table in TABLES
        ),
    )


def _edit_pipeline() -> Tool:
    return Tool(
        name="edit_pipeline",
        mean_milliseconds=900,
        failure_rate=0.05,
        arguments=tuple(
            f'{{"path":"pipelines/{stage}/{table}.orch.yaml","edits":[{{"component":"Merge {table}","set":'
            f'{{"strategy":"merge","keys":["id"],"batchSize":{size}}}}},{{"component":"Start","connect":'
            f'["Merge {table}","On failure: notify"]}}],"branch":"maia/{table}-{size}"}}'
            for stage, table, size in product(STAGES, TABLES, (1000, 50000))
        ),
        results=tuple(
            f'"changedFiles":{n},"diff":"@@ -{n * 4},6 +{n * 4},9 @@\\n   type: merge\\n-  batchSize: 500\\n'
            f'+  batchSize: 1000\\n+  keys:\\n+    - id\\n","validation":{{"ok":true,"warnings":[]}}'
            for n in range(1, 9)
        ),
    )


def _run_pipeline() -> Tool:
    return Tool(
        name="run_pipeline",
        mean_milliseconds=21000,
        failure_rate=0.15,
        arguments=tuple(
            f'{{"path":"pipelines/{stage}/{table}.orch.yaml","environment":"Development","variables":{{"sample":'
            f'true,"maxRows":10000,"runDate":"2026-01-05"}}}}'
            for stage, table in product(STAGES, TABLES)
        ),
        results=tuple(
            f'"executionId":"exec-{n:06d}","state":"SUCCESS","components":{n},"rows":{{"in":{n * 4811},"out":'
            f'{n * 4809},"rejected":{n * 2}}},'
            f'"log":"[06:00:0{n}] Start\\n[06:00:1{n}] Merge\\n[06:00:2{n}] End"'
            for n in range(1, 10)
        ),
    )


def _search_docs() -> Tool:
    return Tool(
        name="search_docs",
        mean_milliseconds=600,
        failure_rate=0.03,
        arguments=tuple(
            f'{{"query":"merge strategy {table}","limit":{n}}}' for table, n in product(TABLES, (3, 5))
        ),
        results=tuple(
            f'"hits":[{{"title":"Merge component","score":0.9{n},'
            f'"url":"https:\\/\\/docs.example\\/merge#{n}"}},'
            f'{{"title":"Incremental loading","score":0.8{n}0,'
            f'"url":"https:\\/\\/docs.example\\/incremental"}}]'
            for n in range(1, 6)
        ),
    )
