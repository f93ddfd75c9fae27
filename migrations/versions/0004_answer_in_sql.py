"""Answer questions in SQL: facets of events, what turns and quarters of an hour come to, and the views."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

TASK_ID = sa.String(length=36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
MOMENT = sa.DateTime(timezone=True)
TEXTS = (
    "event_type",
    "event_kind",
    "actor",
    "user_id",
    "agent_name",
    "model",
    "tool_name",
    "tool_call_id",
    "status",
    "outcome",
    "error_type",
)
FACETS = (
    *((name, sa.Text()) for name in TEXTS),
    ("duration_ms", sa.Double()),
    ("input_tokens", sa.BigInteger()),
    ("output_tokens", sa.BigInteger()),
    ("cost", sa.Double()),
    ("facets_version", sa.Integer()),
)
COUNTS = (
    "events",
    "user_messages",
    "agent_messages",
    "tool_calls",
    "tool_errors",
    "errors",
    "input_tokens",
    "output_tokens",
    "cost",
    "vanished_events",
)
INDEXES = (
    ("ix_task_event_occurred_at", ("occurred_at",), None),
    ("ix_task_event_tool_call_id", ("task_id", "tool_call_id"), "tool_call_id IS NOT NULL"),
    (
        "ix_task_event_bare_call",
        ("task_id",),
        "event_kind IN ('tool_call', 'tool_result') AND tool_call_id IS NULL",
    ),
    ("ix_task_event_error", ("occurred_at",), "outcome = 'error'"),
)


def upgrade() -> None:
    for name, kind in FACETS:
        op.add_column("task_event", sa.Column(name, kind, nullable=True))
    for name, columns, condition in INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "task_event", list(columns), sqlite_where=where, postgresql_where=where)
    op.create_index("ix_task_event_revision_superseded_at", "task_event_revision", ["superseded_at"])
    make_tables()
    dialect = op.get_bind().dialect.name
    sum_up_what_is_stored(dialect)
    for name, query in VIEWS.items():
        op.get_bind().exec_driver_sql(f"CREATE VIEW {name} AS {spelt_out(query, dialect)}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    for name in ("reporting_zone", "task_activity", "task_turn"):
        op.drop_table(name)
    op.drop_index("ix_task_event_revision_superseded_at", "task_event_revision")
    for name, _, _ in INDEXES:
        op.drop_index(name, "task_event")
    for name, _ in FACETS:
        op.drop_column("task_event", name)


def spelt_out(query: str, dialect: str) -> str:
    for macro, texts in CHOSEN.items():
        query = query.replace(macro, texts[dialect])
    return query


def counts() -> list[sa.Column]:
    kinds = {"cost": sa.Double()}
    return [sa.Column(name, kinds.get(name, sa.BigInteger()), nullable=False) for name in COUNTS]


def make_tables() -> None:
    moments = ("hour_at", "started_at", "first_at", "last_at", "asked_at", "answered_at")
    op.create_table(
        "task_turn",
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date()),
        *(sa.Column(name, MOMENT) for name in moments),
        sa.Column("user_id", sa.Text()),
        sa.Column("user_at", MOMENT),
        sa.Column("agent_name", sa.Text()),
        sa.Column("agent_at", MOMENT),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        *counts(),
        sa.PrimaryKeyConstraint("task_id", "group_id", name="pk_task_turn"),
    )
    for name in ("started_at", "day"):
        op.create_index(f"ix_task_turn_{name}", "task_turn", [name])
    op.create_table(
        "task_activity",
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("slot_at", MOMENT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("hour_at", MOMENT, nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        *counts(),
        sa.PrimaryKeyConstraint("task_id", "slot_at", name="pk_task_activity"),
    )
    op.create_index("ix_task_activity_day", "task_activity", ["day"])
    op.create_table("reporting_zone", sa.Column("name", sa.Text(), nullable=False))
    op.execute("INSERT INTO reporting_zone (name) VALUES ('UTC')")


def sum_up_what_is_stored(dialect: str) -> None:
    """Count what there is, without facets as yet: `facets rebuild` reads them from the payloads."""
    execute = op.get_bind().exec_driver_sql  # there are colons in it
    day, hour_at, hour, slot_at = LABELS[dialect]
    counted = (
        "count(*) FILTER (WHERE vanished_at IS NULL), 0, 0, 0, 0, 0, 0, 0, 0, "
        "count(*) FILTER (WHERE vanished_at IS NOT NULL)"
    )
    first_at, last_at = (f"{end}(occurred_at) FILTER (WHERE vanished_at IS NULL)" for end in ("min", "max"))
    day_of, hour_of = (each.replace("occurred_at", "first_at") for each in (day, hour_at))
    execute(
        f"INSERT INTO task_turn (task_id, group_id, first_at, last_at, steps, {', '.join(COUNTS)}) "
        f"SELECT task_id, group_id, {first_at}, {last_at}, 0, {counted} FROM task_event GROUP BY task_id, group_id"
    )
    execute(f"UPDATE task_turn SET started_at = first_at, day = {day_of}, hour_at = {hour_of}")
    execute(
        f"INSERT INTO task_activity (task_id, slot_at, day, hour_at, hour, {', '.join(COUNTS)}) "
        f"SELECT task_id, {slot_at}, {day}, {hour_at}, {hour}, {counted} FROM task_event "
        f"WHERE occurred_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5"
    )


LABELS = {
    "sqlite": (
        "substr(occurred_at, 1, 10)",
        "substr(occurred_at, 1, 14) || '00:00.000000'",
        "CAST(substr(occurred_at, 12, 2) AS INTEGER)",
        """substr(occurred_at, 1, 14) || printf('%02d', CAST(substr(occurred_at, 15, 2) AS INTEGER) / 15 * 15)
      || ':00.000000'""",
    ),
    "postgresql": (
        "CAST(occurred_at AT TIME ZONE 'UTC' AS date)",
        "date_bin('1 hour', occurred_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')",
        "CAST(extract(hour FROM occurred_at AT TIME ZONE 'UTC') AS integer)",
        "date_bin('15 minutes', occurred_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')",
    ),
}
"""Day, hour_at, hour and slot_at of `occurred_at`, in UTC."""


def seconds(earlier: str, later: str) -> dict[str, str]:
    """Return for each dialect the seconds between two moments, to the microsecond."""
    whole = "CAST(strftime('%s', substr({0}, 1, 19)) AS INTEGER)"
    rest = "CAST(substr({0}, 21) AS REAL)"
    difference = "(({1} - {0}) + ({3} - {2}) / 1000000.0)"
    parts = [part.format(moment) for part in (whole, rest) for moment in (earlier, later)]
    return {
        "sqlite": difference.format(*parts),
        "postgresql": f"CAST(extract(epoch FROM {later} - {earlier}) AS double precision)",
    }


def ago(moment: str) -> dict[str, str]:
    """Return for each dialect how many seconds ago a moment was."""
    return {
        "sqlite": f"round((julianday('now') - julianday({moment})) * 86400.0, 3)",
        "postgresql": f"round(CAST(extract(epoch FROM now() - {moment}) AS numeric), 3)::double precision",
    }


def milliseconds(earlier: str, later: str) -> dict[str, str]:
    """Return for each dialect the milliseconds between two places in the key; 64 bits do not hold each difference."""
    return {
        "sqlite": f"({later} - {earlier}) / 1000000.0",
        "postgresql": f"CAST(CAST({later} AS numeric) - {earlier} AS double precision) / 1000000",
    }


ENDED = "CASE WHEN u.answered_at >= u.started_at THEN u.answered_at ELSE u.last_at END"
NOT_A_MOMENT = "-9223372036854775808"
RESULT = """FROM task_event p
      WHERE p.task_id = c.task_id AND p.tool_call_id = c.tool_call_id AND p.event_kind = 'tool_result'
        AND p.vanished_at IS NULL
      ORDER BY p.seq + 0, p.first_seen_at, p.ordinal, p.timestamp, p.group_id LIMIT 1"""
USAGE = """(e.input_tokens IS NOT NULL OR e.output_tokens IS NOT NULL OR e.cost IS NOT NULL)
      AND e.vanished_at IS NULL AND e.occurred_at >= a.slot_at"""
CHOSEN = {
    "[task]": {"sqlite": "NULL", "postgresql": "CAST(NULL AS uuid)"},
    "[turn seconds]": seconds("u.started_at", f"({ENDED})"),
    "[span]": seconds("min(u.first_at)", "max(u.last_at)"),
    "[gap]": seconds("e.occurred_at", "n.occurred_at"),
    "[waited]": milliseconds("c.timestamp", "r.timestamp"),
    "[bare waited]": milliseconds("timestamp", "returned"),
    "[lag]": ago("coalesce(k.last_polled_at, k.tracked_at)"),
    "[overdue]": ago("k.next_poll_at"),
    "[by bare call]": {"sqlite": "INDEXED BY ix_task_event_bare_call", "postgresql": ""},
    # Quarter by quarter, by the index on occurred_at: neither planner finds that by itself.
    "[each usage of a]": {
        "sqlite": f"""CROSS JOIN task_event e INDEXED BY ix_task_event_occurred_at
WHERE {USAGE} AND e.occurred_at <= (substr(a.slot_at, 1, 14)
      || printf('%02d', CAST(substr(a.slot_at, 15, 2) AS INTEGER) + 14) || ':59.999999')""",
        "postgresql": f"""CROSS JOIN LATERAL (SELECT * FROM task_event e
    WHERE {USAGE} AND e.occurred_at <= a.slot_at + INTERVAL '14 minutes 59.999999 seconds' OFFSET 0) e""",
    },
    # "+ 0" keeps the planners from looking through a whole task in the order of seq.
    "[result]": {
        "sqlite": f"LEFT JOIN task_event r ON r.rowid = (SELECT p.rowid {RESULT})",
        "postgresql": f"LEFT JOIN LATERAL (SELECT p.* {RESULT}) r ON true",
    },
    "[next in group]": {
        "sqlite": """JOIN task_event n ON n.rowid = (
            SELECT f.rowid FROM task_event f
            WHERE f.task_id = e.task_id AND f.group_id = e.group_id
              AND (f.timestamp, f.ordinal) > (e.timestamp, e.ordinal) AND f.vanished_at IS NULL
            ORDER BY f.timestamp, f.ordinal LIMIT 1)""",
        "postgresql": """CROSS JOIN LATERAL (
            SELECT f.timestamp, f.occurred_at FROM task_event f
            WHERE f.task_id = e.task_id AND f.group_id = e.group_id
              AND (f.timestamp, f.ordinal) > (e.timestamp, e.ordinal) AND f.vanished_at IS NULL
            ORDER BY f.timestamp, f.ordinal LIMIT 1) n""",
    },
}
SUMMED = """
    CAST(sum(user_messages) AS bigint) AS user_messages,
    CAST(sum(agent_messages) AS bigint) AS agent_messages,
    CAST(sum(tool_calls) AS bigint) AS tool_calls,
    CAST(sum(tool_errors) AS bigint) AS tool_errors,
    CAST(sum(errors) AS bigint) AS errors,
    CAST(sum(input_tokens) AS bigint) AS input_tokens,
    CAST(sum(output_tokens) AS bigint) AS output_tokens,
    sum(cost) AS cost,
    CAST(sum(vanished_events) AS bigint) AS vanished_events"""
PER_TIME = (
    """
    CAST(sum(events) AS bigint) AS events,
    count(DISTINCT active_task) AS tasks,
    count(turn_of) AS turns,
    count(DISTINCT user_id) AS users,"""
    + SUMMED
)
ACTIVE = """
    CASE WHEN events > 0 THEN task_id END AS active_task, [task] AS turn_of, NULL AS user_id, events,
    user_messages, agent_messages, tool_calls, tool_errors, errors, input_tokens, output_tokens, cost, vanished_events
    FROM task_activity"""
TURNED = """
    [task], task_id, user_id, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0
    FROM task_turn WHERE group_id <> '' AND events > 0 AND day IS NOT NULL"""
VIEWS = {
    "v_event": """
SELECT e.task_id, k.label, e.group_id, e.timestamp, e.ordinal, e.seq, e.occurred_at, e.timestamp_text,
    e.event_type, e.event_kind, e.actor, e.user_id, e.agent_name, e.model, e.tool_name, e.tool_call_id,
    e.status, e.outcome, e.error_type, e.duration_ms, e.input_tokens, e.output_tokens, e.cost,
    e.data, e.extra, e.revision, e.first_seen_at, e.last_changed_at, e.vanished_at, e.run_id
FROM task_event e LEFT JOIN task k ON k.task_id = e.task_id""",
    "v_turn": f"""
SELECT u.task_id, k.label, u.group_id, u.day, u.user_id, u.agent_name, u.started_at,
    {ENDED} AS ended_at, [turn seconds] AS duration_seconds,
    u.asked_at, u.answered_at, u.first_at, u.last_at, u.events, u.steps, u.user_messages, u.agent_messages,
    u.tool_calls, u.tool_errors, u.errors, u.input_tokens, u.output_tokens, u.cost, u.vanished_events
FROM task_turn u LEFT JOIN task k ON k.task_id = u.task_id
WHERE u.group_id <> '' AND u.events > 0""",
    "v_task": f"""
SELECT k.task_id, k.label, k.status, k.tracked_at,
    min(u.first_at) AS first_at, max(u.last_at) AS last_at, [span] AS span_seconds,
    sum(CASE WHEN u.group_id <> '' AND u.events > 0 THEN [turn seconds] END) AS active_seconds,
    CAST(coalesce(sum(u.events), 0) AS bigint) AS events,
    count(CASE WHEN u.group_id <> '' AND u.events > 0 THEN 1 END) AS turns,
    {SUMMED.replace("sum(", "coalesce(sum(").replace(") AS bigint", "), 0) AS bigint").replace("sum(cost)", "sum(cost), 0)")},
    k.last_polled_at
FROM task k LEFT JOIN task_turn u ON u.task_id = k.task_id
GROUP BY k.task_id, k.label, k.status, k.tracked_at, k.last_polled_at""",
    "v_tool_call": f"""
SELECT c.task_id, c.group_id, c.tool_call_id, coalesce(c.tool_name, r.tool_name) AS tool_name, c.agent_name,
    c.occurred_at AS called_at, r.occurred_at AS returned_at,
    coalesce(r.duration_ms, c.duration_ms, CASE WHEN r.timestamp >= c.timestamp AND c.timestamp <> {NOT_A_MOMENT}
      THEN [waited] END) AS duration_ms,
    CASE WHEN r.task_id IS NULL THEN c.outcome ELSE coalesce(r.outcome, 'ok') END AS outcome,
    coalesce(r.error_type, c.error_type) AS error_type,
    CASE WHEN r.task_id IS NOT NULL THEN 'id' END AS paired_by, c.seq AS call_seq, r.seq AS result_seq
FROM task_event c [result]
WHERE c.event_kind = 'tool_call' AND c.tool_call_id IS NOT NULL AND c.vanished_at IS NULL
UNION ALL
SELECT task_id, group_id, NULL, coalesce(tool_name, CASE WHEN paired THEN returned_name END), agent_name,
    occurred_at, CASE WHEN paired THEN returned_at END,
    coalesce(CASE WHEN paired THEN returned_ms END, duration_ms,
      CASE WHEN paired AND returned >= timestamp AND timestamp <> {NOT_A_MOMENT}
        THEN [bare waited] END),
    CASE WHEN paired THEN coalesce(returned_outcome, 'ok') ELSE outcome END,
    coalesce(CASE WHEN paired THEN returned_error END, error_type),
    CASE WHEN paired THEN 'order' END, seq, CASE WHEN paired THEN returned_seq END
FROM (SELECT *, following_place = place AND event_kind = 'tool_call' AS paired
  FROM (SELECT *, lead(place) OVER next AS following_place, lead(tool_name) OVER next AS returned_name,
      lead(occurred_at) OVER next AS returned_at, lead(timestamp) OVER next AS returned,
      lead(duration_ms) OVER next AS returned_ms, lead(outcome) OVER next AS returned_outcome,
      lead(error_type) OVER next AS returned_error, lead(seq) OVER next AS returned_seq
    FROM (SELECT task_id, group_id, event_kind, tool_name, agent_name, occurred_at, timestamp, duration_ms,
        outcome, error_type, seq, row_number() OVER (PARTITION BY task_id, group_id, event_kind
          ORDER BY seq, first_seen_at, ordinal, timestamp) AS place
      FROM task_event [by bare call]
      WHERE event_kind IN ('tool_call', 'tool_result') AND tool_call_id IS NULL AND vanished_at IS NULL) placed
    WINDOW next AS (PARTITION BY task_id, group_id ORDER BY place, event_kind)) followed
  ) told
WHERE event_kind = 'tool_call'""",
    "v_tool": """
SELECT tool_name, count(*) AS calls, count(paired_by) AS answered,
    count(CASE WHEN outcome = 'error' THEN 1 END) AS errors,
    CASE WHEN count(outcome) > 0
      THEN count(CASE WHEN outcome = 'error' THEN 1 END) * 1.0 / count(outcome) END AS error_rate,
    min(CASE WHEN share >= 0.5 THEN duration_ms END) AS p50_ms,
    min(CASE WHEN share >= 0.95 THEN duration_ms END) AS p95_ms,
    max(duration_ms) AS max_ms, count(DISTINCT task_id) AS tasks,
    min(called_at) AS first_at, max(called_at) AS last_at
FROM (SELECT tool_name, task_id, outcome, duration_ms, called_at, paired_by,
    CASE WHEN duration_ms IS NOT NULL THEN cume_dist() OVER (PARTITION BY tool_name,
      CASE WHEN duration_ms IS NULL THEN 1 ELSE 0 END ORDER BY duration_ms) END AS share
  FROM v_tool_call) ranked
GROUP BY tool_name""",
    "v_daily": f"""
SELECT day,{PER_TIME}
FROM (SELECT day,{ACTIVE} UNION ALL SELECT day,{TURNED}) told
GROUP BY day""",
    "v_hourly": f"""
SELECT hour_at, day, max(hour) AS hour,{PER_TIME}
FROM (SELECT hour_at, day, hour,{ACTIVE} UNION ALL SELECT hour_at, day, NULL,{TURNED}) told
GROUP BY hour_at, day""",
    "v_user": """
SELECT user_id, count(DISTINCT task_id) AS tasks, count(CASE WHEN group_id <> '' THEN 1 END) AS turns,
    min(started_at) AS first_at, max(last_at) AS last_at,
    sum(CASE WHEN group_id <> '' THEN [turn seconds] END) AS turn_seconds,
    CAST(sum(events) AS bigint) AS events, CAST(sum(tool_calls) AS bigint) AS tool_calls,
    CAST(sum(errors) AS bigint) AS errors, CAST(sum(input_tokens) AS bigint) AS input_tokens,
    CAST(sum(output_tokens) AS bigint) AS output_tokens, sum(cost) AS cost
FROM task_turn u
WHERE user_id IS NOT NULL AND events > 0
GROUP BY user_id""",
    "v_error": """
SELECT e.task_id, k.label, e.group_id, e.timestamp, e.ordinal, e.seq, e.occurred_at, e.event_type, e.event_kind,
    e.actor, e.agent_name, e.tool_name, e.tool_call_id, e.status, e.error_type, e.data
FROM task_event e LEFT JOIN task k ON k.task_id = e.task_id
WHERE e.outcome = 'error' AND e.vanished_at IS NULL""",
    "v_model_usage": """
SELECT a.day, e.model, e.agent_name, count(*) AS events, count(DISTINCT e.task_id) AS tasks,
    CAST(coalesce(sum(e.input_tokens), 0) AS bigint) AS input_tokens,
    CAST(coalesce(sum(e.output_tokens), 0) AS bigint) AS output_tokens, coalesce(sum(e.cost), 0.0) AS cost
FROM (SELECT DISTINCT day, slot_at FROM task_activity) a [each usage of a]
GROUP BY a.day, e.model, e.agent_name""",
    "v_gap": f"""
SELECT e.task_id, e.group_id, e.occurred_at AS started_at, n.occurred_at AS ended_at, [gap] AS gap_seconds,
    e.event_type, e.actor, e.tool_name
FROM task_event e [next in group]
WHERE e.group_id <> '' AND e.timestamp <> {NOT_A_MOMENT} AND e.vanished_at IS NULL AND n.timestamp > e.timestamp""",
    "v_revision": """
SELECT r.task_id, r.group_id, r.timestamp, r.ordinal, e.occurred_at, e.event_type, r.revision, r.seen_at,
    r.superseded_at, r.data, CASE WHEN n.task_id IS NULL THEN e.data ELSE n.data END AS data_after, r.run_id,
    e.vanished_at
FROM task_event_revision r
JOIN task_event e ON e.task_id = r.task_id AND e.group_id = r.group_id AND e.timestamp = r.timestamp
    AND e.ordinal = r.ordinal
LEFT JOIN task_event_revision n ON n.task_id = r.task_id AND n.group_id = r.group_id
    AND n.timestamp = r.timestamp AND n.ordinal = r.ordinal AND n.revision = r.revision + 1""",
    "v_sync_health": """
SELECT k.task_id, k.label, k.status, k.last_polled_at, [lag] AS lag_seconds, k.next_poll_at,
    CASE WHEN [overdue] > 0 THEN [overdue] ELSE 0.0 END AS overdue_seconds,
    k.last_news_at, (SELECT max(u.last_at) FROM task_turn u WHERE u.task_id = k.task_id) AS newest_event_at,
    k.failures, k.last_error, k.last_error_at, c.reconciled_at, k.lease_owner,
    (SELECT count(*) FROM quarantine q WHERE q.task_id = k.task_id) AS quarantined,
    CAST((SELECT coalesce(sum(u.vanished_events), 0) FROM task_turn u WHERE u.task_id = k.task_id) AS bigint)
      AS vanished_events
FROM task k LEFT JOIN checkpoint c ON c.task_id = k.task_id""",
}
