-- The queries that `maia-sync query NAME` knows. They run unchanged on SQLite and on PostgreSQL, and read
-- views alone. A query begins with its name; the sentence below says what it answers; `default limit` is what
-- :limit stands for unless --limit is given. :since and :until are moments (from, and up to but not
-- including), :since_day and :until_day the days that hold them (both included); each is NULL where there is
-- no bound. Seconds and money are rounded to what both databases spell alike.

-- name: slowest-turns
-- Which turns took longest, from the user's message to the last answer?
-- default limit: 20
SELECT started_at, round(CAST(duration_seconds AS numeric), 3) AS duration_seconds, task_id, label, group_id,
       user_id, agent_name, steps, tool_calls, tool_errors, errors, round(CAST(cost AS numeric), 5) AS cost
FROM v_turn
WHERE duration_seconds IS NOT NULL
  AND (:since IS NULL OR started_at >= :since)
  AND (:until IS NULL OR started_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY duration_seconds DESC, started_at, task_id, group_id
LIMIT :limit;

-- name: tools
-- How often is each tool called, how often does it fail, and how long does it take (median, 95th percentile)?
-- default limit: 50
WITH call AS (
  SELECT tool_name, task_id, called_at, duration_ms, outcome, result_seq,
         row_number() OVER (PARTITION BY tool_name ORDER BY duration_ms NULLS LAST) AS place,
         count(duration_ms) OVER (PARTITION BY tool_name) AS measured
  FROM v_tool_call
  WHERE (:since IS NULL OR called_at >= :since)
    AND (:until IS NULL OR called_at < :until)
    AND (:task IS NULL OR task_id = :task)
)
SELECT tool_name,
       count(*) AS calls,
       count(result_seq) AS answered,
       count(*) FILTER (WHERE outcome = 'error') AS errors,
       round(1.0 * count(*) FILTER (WHERE outcome = 'error') / NULLIF(count(outcome), 0), 4) AS error_rate,
       min(duration_ms) FILTER (WHERE place >= 0.5 * measured AND place <= measured) AS p50_ms,
       min(duration_ms) FILTER (WHERE place >= 0.95 * measured AND place <= measured) AS p95_ms,
       max(duration_ms) AS max_ms,
       count(DISTINCT task_id) AS tasks,
       max(called_at) AS last_at
FROM call
GROUP BY tool_name
ORDER BY calls DESC, tool_name
LIMIT :limit;

-- name: slowest-calls
-- Which tool calls took longest?
-- default limit: 20
SELECT called_at, duration_ms, tool_name, outcome, error_type, agent_name, task_id, group_id, tool_call_id
FROM v_tool_call
WHERE duration_ms IS NOT NULL
  AND (:since IS NULL OR called_at >= :since)
  AND (:until IS NULL OR called_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY duration_ms DESC, called_at, task_id, call_seq
LIMIT :limit;

-- name: failing-calls
-- Which tool calls failed last?
-- default limit: 50
SELECT called_at, tool_name, error_type, duration_ms, agent_name, task_id, group_id, tool_call_id
FROM v_tool_call
WHERE outcome = 'error'
  AND (:since IS NULL OR called_at >= :since)
  AND (:until IS NULL OR called_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY called_at DESC NULLS LAST, task_id, call_seq
LIMIT :limit;

-- name: unanswered-calls
-- Which tool calls have no result in the log, the newest first?
-- default limit: 50
SELECT called_at, tool_name, agent_name, task_id, group_id, tool_call_id
FROM v_tool_call
WHERE result_seq IS NULL
  AND outcome IS NULL
  AND (:since IS NULL OR called_at >= :since)
  AND (:until IS NULL OR called_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY called_at DESC NULLS LAST, task_id, call_seq
LIMIT :limit;

-- name: errors
-- Which events report an error, the newest first?
-- default limit: 50
SELECT occurred_at, task_id, label, group_id, event_type, actor, agent_name, tool_name, status, error_type,
       data
FROM v_error
WHERE (:since IS NULL OR occurred_at >= :since)
  AND (:until IS NULL OR occurred_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY occurred_at DESC NULLS LAST, task_id, seq DESC
LIMIT :limit;

-- name: error-types
-- Which errors happen most, and where?
-- default limit: 50
SELECT error_type, tool_name, event_type, count(*) AS errors, count(DISTINCT task_id) AS tasks,
       min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM v_error
WHERE (:since IS NULL OR occurred_at >= :since)
  AND (:until IS NULL OR occurred_at < :until)
  AND (:task IS NULL OR task_id = :task)
GROUP BY error_type, tool_name, event_type
ORDER BY errors DESC, error_type NULLS LAST, tool_name NULLS LAST, event_type NULLS LAST
LIMIT :limit;

-- name: daily
-- How much happened on each day, the newest first?
-- default limit: 31
SELECT day, events, tasks, turns, users, user_messages, agent_messages, tool_calls, tool_errors, errors,
       input_tokens, output_tokens, round(CAST(cost AS numeric), 5) AS cost, vanished_events
FROM v_daily
WHERE (:since_day IS NULL OR day >= :since_day)
  AND (:until_day IS NULL OR day <= :until_day)
ORDER BY day DESC NULLS LAST
LIMIT :limit;

-- name: hourly
-- How much happened in each hour, the newest first?
-- default limit: 48
SELECT hour_at, day, hour, events, tasks, turns, users, user_messages, agent_messages, tool_calls,
       tool_errors, errors, input_tokens, output_tokens, round(CAST(cost AS numeric), 5) AS cost, vanished_events
FROM v_hourly
WHERE (:since IS NULL OR hour_at >= :since)
  AND (:until IS NULL OR hour_at < :until)
ORDER BY hour_at DESC NULLS LAST
LIMIT :limit;

-- name: busiest-tasks
-- Which tasks had most events?
-- default limit: 20
SELECT task_id, label, count(*) AS events, count(DISTINCT NULLIF(group_id, '')) AS turns,
       count(*) FILTER (WHERE event_kind = 'tool_call') AS tool_calls,
       count(*) FILTER (WHERE outcome = 'error') AS errors,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       round(CAST(sum(cost) AS numeric), 5) AS cost,
       min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM v_event
WHERE vanished_at IS NULL
  AND (:since IS NULL OR occurred_at >= :since)
  AND (:until IS NULL OR occurred_at < :until)
GROUP BY task_id, label
ORDER BY events DESC, task_id
LIMIT :limit;

-- name: costs
-- What did each model cost, by tokens and money?
-- default limit: 50
SELECT model, round(CAST(sum(cost) AS numeric), 5) AS cost, sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens, sum(events) AS events, min(day) AS first_day, max(day) AS last_day
FROM v_model_usage
WHERE (:since_day IS NULL OR day >= :since_day)
  AND (:until_day IS NULL OR day <= :until_day)
GROUP BY model
ORDER BY cost DESC NULLS LAST, input_tokens DESC NULLS LAST, model NULLS LAST
LIMIT :limit;

-- name: users
-- Who used agents most, and what came of it?
-- default limit: 50
SELECT user_id, count(*) AS turns, count(DISTINCT task_id) AS tasks,
       round(CAST(sum(duration_seconds) AS numeric), 3) AS turn_seconds,
       sum(tool_calls) AS tool_calls, sum(errors) AS errors, sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens, round(CAST(sum(cost) AS numeric), 5) AS cost,
       max(last_at) AS last_at
FROM v_turn
WHERE user_id IS NOT NULL
  AND (:since IS NULL OR started_at >= :since)
  AND (:until IS NULL OR started_at < :until)
  AND (:task IS NULL OR task_id = :task)
GROUP BY user_id
ORDER BY turns DESC, user_id
LIMIT :limit;

-- name: longest-silences
-- Where did a turn stand still longest, and after what?
-- default limit: 20
SELECT started_at, round(CAST(gap_seconds AS numeric), 3) AS gap_seconds, task_id, group_id, event_type, actor,
       tool_name, ended_at
FROM v_gap
WHERE (:since IS NULL OR started_at >= :since)
  AND (:until IS NULL OR started_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY gap_seconds DESC, started_at, task_id
LIMIT :limit;

-- name: changed
-- Which events has upstream changed after we had stored them, the newest change first?
-- default limit: 50
SELECT superseded_at, task_id, group_id, occurred_at, event_type, revision, data, data_after
FROM v_revision
WHERE (:since IS NULL OR superseded_at >= :since)
  AND (:until IS NULL OR superseded_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY superseded_at DESC, task_id, group_id, timestamp, ordinal, revision DESC
LIMIT :limit;

-- name: vanished
-- Which events are gone upstream, by the time at which that was noticed?
-- default limit: 50
SELECT vanished_at, task_id, label, group_id, occurred_at, event_type, actor, tool_name, data
FROM v_event
WHERE vanished_at IS NOT NULL
  AND (:since IS NULL OR vanished_at >= :since)
  AND (:until IS NULL OR vanished_at < :until)
  AND (:task IS NULL OR task_id = :task)
ORDER BY vanished_at DESC, task_id, seq, ordinal
LIMIT :limit;

-- name: stale-tasks
-- Which tasks is the copy furthest behind with, and why?
-- default limit: 50
SELECT task_id, label, status, lag_seconds, last_polled_at, overdue_seconds, failures, last_error,
       last_error_at, lease_owner, quarantined
FROM v_sync_health
WHERE status NOT IN ('paused', 'untracked')
  AND (:task IS NULL OR task_id = :task)
ORDER BY lag_seconds DESC, task_id
LIMIT :limit;
