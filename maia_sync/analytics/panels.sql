-- The questions of page and report. They run unchanged on SQLite and on PostgreSQL. A panel begins with its name
-- and title; the sentence below says what it answers; `chart` is how it is drawn, `empty` what to do next where
-- there are no rows, `limit` what :limit stands for unless somebody says otherwise; `asks` names an earlier panel
-- whose SQL it shares. :since and :until are moments (from, and up to but not including), :since_day and
-- :until_day the days that hold them (both included). None of these is ever NULL: without a bound they are
-- '-infinity' and 'infinity', which come before and behind everything on SQLite too, where moments are texts; so
-- each is compared plainly, and an index leads to it. :task is NULL for all tasks. [max_lag] is schedule.max_lag in seconds. Seconds and money are rounded to
-- what both databases spell alike. Vanished events count for nothing but where they are named.

-- panel: figures
-- title: In short
-- What do the events of this time come to?
-- empty: Nothing is stored of this time.
SELECT CAST(coalesce(sum(a.events), 0) AS bigint) AS events,
       (SELECT count(*) FROM task_turn u
        WHERE u.started_at >= :since AND u.started_at < :until AND u.group_id <> '' AND u.events > 0
          AND (:task IS NULL OR u.task_id = :task)) AS turns,
       count(DISTINCT CASE WHEN a.events > 0 THEN a.task_id END) AS active_tasks,
       CAST(coalesce(sum(a.tool_calls), 0) AS bigint) AS tool_calls,
       CAST(coalesce(sum(a.tool_errors), 0) AS bigint) AS tool_errors,
       round(1.0 * sum(a.tool_errors) / NULLIF(sum(a.tool_calls), 0), 4) AS tool_error_rate,
       CAST(coalesce(sum(a.errors), 0) AS bigint) AS errors,
       CAST(coalesce(sum(a.input_tokens), 0) AS bigint) AS input_tokens,
       CAST(coalesce(sum(a.output_tokens), 0) AS bigint) AS output_tokens,
       round(CAST(coalesce(sum(a.cost), 0) AS numeric), 5) AS cost
FROM task_activity a
WHERE a.day >= :since_day AND a.day <= :until_day AND a.slot_at >= :since AND a.slot_at < :until
  AND (:task IS NULL OR a.task_id = :task);

-- panel: activity
-- title: Events
-- How many events were there over time, and of what kind?
-- chart: days day: user_messages as user, agent_messages as agent, tool_calls as tool, other as other
-- empty: No event is stored of this time. Choose a longer time, or track a task: `maia-sync track ID`.
-- limit: 400
SELECT day, CAST(sum(events) AS bigint) AS events,
       CAST(sum(user_messages) AS bigint) AS user_messages,
       CAST(sum(agent_messages) AS bigint) AS agent_messages,
       CAST(sum(tool_calls) AS bigint) AS tool_calls,
       CAST(sum(events - user_messages - agent_messages - tool_calls) AS bigint) AS other
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY day
HAVING sum(events) > 0
ORDER BY day DESC
LIMIT :limit;

-- panel: activity-by-hour
-- title: Events
-- How many events were there over time, and of what kind?
-- chart: hours hour_at: user_messages as user, agent_messages as agent, tool_calls as tool, other as other
-- empty: No event is stored of this time. Choose a longer time, or track a task: `maia-sync track ID`.
-- limit: 400
SELECT hour_at, CAST(sum(events) AS bigint) AS events,
       CAST(sum(user_messages) AS bigint) AS user_messages,
       CAST(sum(agent_messages) AS bigint) AS agent_messages,
       CAST(sum(tool_calls) AS bigint) AS tool_calls,
       CAST(sum(events - user_messages - agent_messages - tool_calls) AS bigint) AS other
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY hour_at
HAVING sum(events) > 0
ORDER BY hour_at DESC
LIMIT :limit;

-- panel: tool-calls
-- title: Tool calls
-- How many tool calls were there over time, and how many failed?
-- chart: days day: without_error as good, failed as bad
-- empty: No tool was called in this time. Choose a longer time.
-- limit: 400
SELECT day, CAST(sum(tool_calls) AS bigint) AS tool_calls,
       CAST(CASE WHEN sum(tool_calls) > sum(tool_errors) THEN sum(tool_calls) - sum(tool_errors) ELSE 0 END AS bigint)
         AS without_error,
       CAST(sum(tool_errors) AS bigint) AS failed,
       round(1.0 * sum(tool_errors) / NULLIF(sum(tool_calls), 0), 4) AS error_rate
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY day
HAVING sum(tool_calls) + sum(tool_errors) > 0
ORDER BY day DESC
LIMIT :limit;

-- panel: tool-calls-by-hour
-- title: Tool calls
-- How many tool calls were there over time, and how many failed?
-- chart: hours hour_at: without_error as good, failed as bad
-- empty: No tool was called in this time. Choose a longer time.
-- limit: 400
SELECT hour_at, CAST(sum(tool_calls) AS bigint) AS tool_calls,
       CAST(CASE WHEN sum(tool_calls) > sum(tool_errors) THEN sum(tool_calls) - sum(tool_errors) ELSE 0 END AS bigint)
         AS without_error,
       CAST(sum(tool_errors) AS bigint) AS failed,
       round(1.0 * sum(tool_errors) / NULLIF(sum(tool_calls), 0), 4) AS error_rate
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY hour_at
HAVING sum(tool_calls) + sum(tool_errors) > 0
ORDER BY hour_at DESC
LIMIT :limit;

-- panel: tokens
-- title: Tokens
-- How many tokens went into the models over time, and how many came out?
-- chart: days day: input_tokens as input, output_tokens as output
-- empty: No event of this time tells tokens. Choose a longer time, or see what is read: `maia-sync facets explore`.
-- limit: 400
SELECT day, CAST(sum(input_tokens) AS bigint) AS input_tokens, CAST(sum(output_tokens) AS bigint) AS output_tokens
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY day
HAVING sum(input_tokens) + sum(output_tokens) > 0
ORDER BY day DESC
LIMIT :limit;

-- panel: tokens-by-hour
-- title: Tokens
-- How many tokens went into the models over time, and how many came out?
-- chart: hours hour_at: input_tokens as input, output_tokens as output
-- empty: No event of this time tells tokens. Choose a longer time, or see what is read: `maia-sync facets explore`.
-- limit: 400
SELECT hour_at, CAST(sum(input_tokens) AS bigint) AS input_tokens, CAST(sum(output_tokens) AS bigint) AS output_tokens
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY hour_at
HAVING sum(input_tokens) + sum(output_tokens) > 0
ORDER BY hour_at DESC
LIMIT :limit;

-- panel: cost
-- title: Cost
-- What did the models cost over time, in whatever currency the payloads tell it?
-- chart: days day: cost as plain
-- empty: No event of this time tells a cost. Choose a longer time, or see what is read: `maia-sync facets explore`.
-- limit: 400
SELECT day, round(CAST(sum(cost) AS numeric), 5) AS cost
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY day
HAVING sum(cost) > 0
ORDER BY day DESC
LIMIT :limit;

-- panel: cost-by-hour
-- title: Cost
-- What did the models cost over time, in whatever currency the payloads tell it?
-- chart: hours hour_at: cost as plain
-- empty: No event of this time tells a cost. Choose a longer time, or see what is read: `maia-sync facets explore`.
-- limit: 400
SELECT hour_at, round(CAST(sum(cost) AS numeric), 5) AS cost
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY hour_at
HAVING sum(cost) > 0
ORDER BY hour_at DESC
LIMIT :limit;

-- panel: slowest-turns
-- title: Slowest turns
-- Which turns took longest, from the user's message to the last answer?
-- empty: No turn of this time took any time. Choose a longer time.
-- limit: 20
SELECT t.started_at, round(CAST(t.duration_seconds AS numeric), 3) AS duration_seconds, t.task_id, k.label,
       t.group_id, t.user_id, t.agent_name, t.steps, t.tool_calls, t.errors,
       round(CAST(t.cost AS numeric), 5) AS cost
FROM (SELECT started_at, duration_seconds, task_id, group_id, user_id, agent_name, steps, tool_calls, errors, cost
      FROM v_turn
      WHERE started_at >= :since AND started_at < :until AND (:task IS NULL OR task_id = :task)
      ORDER BY duration_seconds DESC NULLS LAST, started_at, task_id, group_id
      LIMIT :limit) t
LEFT JOIN task k ON k.task_id = t.task_id
WHERE t.duration_seconds > 0
ORDER BY t.duration_seconds DESC, t.started_at, t.task_id, t.group_id;

-- panel: tools
-- title: Tools
-- How often was each tool called and did it fail, and how long did a call take (median, 95th percentile, longest)?
-- chart: ranked tool_name: without_error as good, failed as bad
-- empty: No tool was called in this time. Choose a longer time.
-- limit: 50
WITH call AS (
  SELECT tool_name, round(CAST(duration_ms AS numeric), 0) AS took_ms, count(*) AS calls, count(outcome) AS answered,
         count(CASE WHEN outcome = 'error' THEN 1 END) AS failed, max(called_at) AS last_at
  FROM v_tool_call
  WHERE called_at >= :since AND called_at < :until AND (:task IS NULL OR task_id = :task)
  GROUP BY tool_name, round(CAST(duration_ms AS numeric), 0)
),
placed AS (
  SELECT tool_name, took_ms, calls, answered, failed, last_at,
         sum(CASE WHEN took_ms IS NOT NULL THEN calls END) OVER (
           PARTITION BY tool_name ORDER BY took_ms ROWS UNBOUNDED PRECEDING) AS place,
         sum(CASE WHEN took_ms IS NOT NULL THEN calls END) OVER (PARTITION BY tool_name) AS measured
  FROM call
)
SELECT tool_name,
       CAST(sum(calls) AS bigint) AS calls,
       CAST(sum(calls) - sum(failed) AS bigint) AS without_error,
       CAST(sum(failed) AS bigint) AS failed,
       round(1.0 * sum(failed) / NULLIF(sum(answered), 0), 4) AS error_rate,
       min(CASE WHEN place >= 0.5 * measured THEN took_ms END) AS p50_ms,
       min(CASE WHEN place >= 0.95 * measured THEN took_ms END) AS p95_ms,
       max(took_ms) AS max_ms,
       max(last_at) AS last_at
FROM placed
GROUP BY tool_name
ORDER BY calls DESC, tool_name
LIMIT :limit;

-- panel: tool-error-rates
-- title: Error rates
-- Which share of each tool's answered calls failed?
-- chart: ranked tool_name: error_rate as bad
-- empty: No tool was called in this time. Choose a longer time.
-- limit: 50
-- asks: tools

-- panel: tool-durations
-- title: Durations
-- How long do a tool's slow calls take: which duration do 95 of 100 calls not exceed?
-- chart: ranked tool_name: p95_ms as tool
-- empty: No tool was called in this time. Choose a longer time.
-- limit: 50
-- asks: tools

-- panel: slowest-calls
-- title: Slowest calls
-- Which tool calls took longest?
-- empty: No call of this time has an answer. Choose a longer time.
-- limit: 20
SELECT x.called_at, round(CAST(x.duration_ms AS numeric), 3) AS duration_ms, x.tool_name, x.outcome, x.error_type,
       x.agent_name, x.task_id, k.label, x.group_id, x.call_seq AS seq
FROM (SELECT called_at, duration_ms, tool_name, outcome, error_type, agent_name, task_id, group_id, call_seq
      FROM v_tool_call
      WHERE duration_ms IS NOT NULL AND called_at >= :since AND called_at < :until
        AND (:task IS NULL OR task_id = :task)
      ORDER BY duration_ms DESC, called_at, task_id, call_seq
      LIMIT :limit) x
LEFT JOIN task k ON k.task_id = x.task_id
ORDER BY x.duration_ms DESC, x.called_at, x.task_id, x.call_seq;

-- panel: failing-calls
-- title: Failing calls
-- Which tool calls failed last, by the time of the failure?
-- empty: No tool call failed in this time.
-- limit: 50
SELECT x.failed_at, x.tool_name, x.error_type, x.duration_ms, x.task_id, k.label, x.group_id, x.seq
FROM (SELECT e.occurred_at AS failed_at,
             coalesce(e.tool_name, (
               SELECT min(c.tool_name) FROM task_event c
               WHERE c.task_id = e.task_id AND c.tool_call_id = e.tool_call_id AND c.event_kind = 'tool_call'
                 AND c.vanished_at IS NULL)) AS tool_name,
             e.error_type, round(CAST(e.duration_ms AS numeric), 3) AS duration_ms, e.task_id, e.group_id, e.seq
      FROM task_event e
      WHERE e.outcome = 'error' AND e.event_kind IN ('tool_call', 'tool_result') AND e.vanished_at IS NULL
        AND e.occurred_at >= :since AND e.occurred_at < :until
        AND (:task IS NULL OR e.task_id = :task)
      ORDER BY e.occurred_at DESC, e.task_id, e.seq DESC
      LIMIT :limit) x
LEFT JOIN task k ON k.task_id = x.task_id
ORDER BY x.failed_at DESC, x.task_id, x.seq DESC;

-- panel: unanswered-calls
-- title: Unanswered calls
-- Which tool calls have no result in the log, the newest first?
-- empty: Every tool call of this time has its result.
-- limit: 50
SELECT x.called_at, x.tool_name, x.agent_name, x.task_id, k.label, x.group_id, x.call_seq AS seq
FROM (SELECT called_at, tool_name, agent_name, task_id, group_id, call_seq
      FROM v_tool_call
      WHERE result_seq IS NULL AND outcome IS NULL AND called_at >= :since AND called_at < :until
        AND (:task IS NULL OR task_id = :task)
      ORDER BY called_at DESC, task_id, call_seq
      LIMIT :limit) x
LEFT JOIN task k ON k.task_id = x.task_id
ORDER BY x.called_at DESC, x.task_id, x.call_seq;

-- panel: errors
-- title: Errors
-- How many events reported an error over time, of tool calls and of other kinds?
-- chart: days day: tool_calls as tool, other as other
-- empty: No event of this time reports an error.
-- limit: 400
SELECT day, CAST(sum(errors) AS bigint) AS errors, CAST(sum(tool_errors) AS bigint) AS tool_calls,
       CAST(sum(errors - tool_errors) AS bigint) AS other,
       round(1.0 * sum(errors) / NULLIF(sum(events), 0), 4) AS error_rate
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY day
HAVING sum(errors) > 0
ORDER BY day DESC
LIMIT :limit;

-- panel: errors-by-hour
-- title: Errors
-- How many events reported an error over time, of tool calls and of other kinds?
-- chart: hours hour_at: tool_calls as tool, other as other
-- empty: No event of this time reports an error.
-- limit: 400
SELECT hour_at, CAST(sum(errors) AS bigint) AS errors, CAST(sum(tool_errors) AS bigint) AS tool_calls,
       CAST(sum(errors - tool_errors) AS bigint) AS other,
       round(1.0 * sum(errors) / NULLIF(sum(events), 0), 4) AS error_rate
FROM task_activity
WHERE day >= :since_day AND day <= :until_day AND slot_at >= :since AND slot_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY hour_at
HAVING sum(errors) > 0
ORDER BY hour_at DESC
LIMIT :limit;

-- panel: errors-by-type
-- title: Errors by type
-- Which types of errors happen most?
-- chart: ranked error_type: errors as bad
-- empty: No event of this time reports an error.
-- limit: 10
SELECT coalesce(error_type, 'no type') AS error_type, count(*) AS errors, count(DISTINCT task_id) AS tasks
FROM task_event
WHERE outcome = 'error' AND vanished_at IS NULL AND occurred_at >= :since AND occurred_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY error_type
ORDER BY errors DESC, error_type NULLS LAST
LIMIT :limit;

-- panel: error-types
-- title: Error types
-- Which errors happen most, and where?
-- empty: No event of this time reports an error.
-- limit: 50
SELECT error_type, tool_name, event_type, count(*) AS errors, count(DISTINCT task_id) AS tasks,
       min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM task_event
WHERE outcome = 'error' AND vanished_at IS NULL AND occurred_at >= :since AND occurred_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY error_type, tool_name, event_type
ORDER BY errors DESC, error_type NULLS LAST, tool_name NULLS LAST, event_type NULLS LAST
LIMIT :limit;

-- panel: latest-errors
-- title: Latest errors
-- Which events report an error, the newest first?
-- empty: No event of this time reports an error.
-- limit: 50
SELECT x.occurred_at, x.error_type, x.event_type, x.tool_name, x.task_id, k.label, x.group_id, x.seq, x.excerpt
FROM (SELECT e.occurred_at, e.error_type, e.event_type, e.tool_name, e.task_id, e.group_id, e.seq,
             substr(CAST(e.data AS text), 1, 300) AS excerpt
      FROM task_event e
      WHERE e.outcome = 'error' AND e.vanished_at IS NULL AND e.occurred_at >= :since AND e.occurred_at < :until
        AND (:task IS NULL OR e.task_id = :task)
      ORDER BY e.occurred_at DESC, e.task_id, e.seq DESC
      LIMIT :limit) x
LEFT JOIN task k ON k.task_id = x.task_id
ORDER BY x.occurred_at DESC, x.task_id, x.seq DESC;

-- panel: freshness
-- title: Freshness
-- How far is the copy behind, and how many tasks fail?
-- empty: No task is tracked yet: `maia-sync track ID`.
SELECT count(*) AS tasks,
       count(CASE WHEN status = 'active' THEN 1 END) AS active,
       count(CASE WHEN status = 'active' AND last_error_at IS NOT NULL THEN 1 END) AS failing,
       count(CASE WHEN status = 'active' AND last_polled_at IS NULL THEN 1 END) AS never_complete,
       count(CASE WHEN status = 'active' AND lag_seconds > [max_lag] THEN 1 END) AS stale,
       [max_lag] AS max_lag_seconds,
       round(CAST(max(CASE WHEN status = 'active' THEN lag_seconds END) AS numeric), 3) AS worst_lag_seconds,
       max(last_polled_at) AS last_polled_at,
       max(last_news_at) AS last_news_at
FROM v_sync_health
WHERE status <> 'untracked';

-- panel: task-states
-- title: Tasks by state
-- How many tasks are in which state?
-- chart: ranked status: tasks as plain
-- empty: No task is tracked yet: `maia-sync track ID`.
-- limit: 10
SELECT status, count(*) AS tasks
FROM task
GROUP BY status
ORDER BY tasks DESC, status
LIMIT :limit;

-- panel: stale-tasks
-- title: Furthest behind
-- Which active tasks is the copy furthest behind with?
-- empty: No task is active. Track one: `maia-sync track ID`.
-- limit: 20
SELECT h.task_id, h.label, h.lag_seconds, h.last_polled_at, h.next_poll_at, h.failures, h.lease_owner,
       substr(h.last_error, 1, 300) AS last_error
FROM (SELECT task_id
      FROM (SELECT task_id FROM task WHERE status = 'active' AND last_polled_at IS NULL
            ORDER BY tracked_at LIMIT :limit) never_complete
      UNION ALL
      SELECT task_id
      FROM (SELECT task_id FROM task WHERE status = 'active' AND last_polled_at IS NOT NULL
            ORDER BY last_polled_at LIMIT :limit) once_complete) k
JOIN v_sync_health h ON h.task_id = k.task_id
ORDER BY h.lag_seconds DESC, h.task_id
LIMIT :limit;

-- panel: task-copy
-- title: State and lag
-- In which state is a task, how far is its copy behind, and what went wrong last?
-- empty: The task is not tracked. Track it: `maia-sync track ID`.
-- limit: 20
SELECT task_id, label, status, lag_seconds, last_polled_at, last_news_at, reconciled_at, failures,
       last_error_at AS failed_at, substr(last_error, 1, 300) AS last_error
FROM v_sync_health
WHERE (:task IS NULL OR task_id = :task)
ORDER BY lag_seconds DESC, task_id
LIMIT :limit;

-- panel: failing-tasks
-- title: Failing tasks
-- With which active tasks did the latest poll fail, and why?
-- empty: No task is failing.
-- limit: 50
SELECT task_id, label, failures, last_error_at AS failed_at, next_poll_at, substr(last_error, 1, 300) AS last_error
FROM task
WHERE last_error_at IS NOT NULL AND status NOT IN ('paused', 'forbidden', 'missing', 'untracked')
ORDER BY last_error_at DESC, task_id
LIMIT :limit;

-- panel: withheld-tasks
-- title: Withheld tasks
-- Which tasks does the API refuse to show, or not know?
-- empty: The API shows every task that is tracked.
-- limit: 50
SELECT task_id, label, status, last_error_at AS failed_at, next_poll_at, substr(last_error, 1, 300) AS last_error
FROM task
WHERE status IN ('forbidden', 'missing')
ORDER BY last_error_at DESC NULLS LAST, task_id
LIMIT :limit;

-- panel: next-polls
-- title: Next polls
-- Which tasks are polled next?
-- empty: No poll is due: nobody runs `maia-sync run`, or no task is active.
-- limit: 20
SELECT next_poll_at, task_id, label, status,
       round(CAST(NULLIF(poll_interval, 0) AS numeric), 3) AS poll_interval_seconds, failures
FROM task
WHERE next_poll_at IS NOT NULL
ORDER BY next_poll_at, task_id
LIMIT :limit;

-- panel: workers
-- title: Workers
-- Which worker holds how many tasks, and until when?
-- empty: No worker holds a task just now.
-- limit: 50
SELECT lease_owner AS worker, count(*) AS tasks, min(lease_acquired_at) AS first_acquired_at,
       min(lease_expires_at) AS first_expires_at, max(lease_expires_at) AS last_expires_at
FROM task
WHERE lease_owner IS NOT NULL
GROUP BY lease_owner
ORDER BY tasks DESC, worker
LIMIT :limit;

-- panel: runs
-- title: Runs
-- What did the last runs come to, in how many walks (each reads on in one task, as often as it is due)?
-- empty: There was no run yet. Start the service: `maia-sync run`, or sync once: `maia-sync sync`.
-- limit: 30
SELECT started_at, ended_at, kind, status, substr(error, 1, 300) AS error, tasks AS walks, tasks_failed AS failed,
       requests, events_new AS new, events_changed AS changed, events_vanished AS vanished, tasks_held AS held,
       bytes, quarantined, worker, id
FROM sync_run
ORDER BY id DESC
LIMIT :limit;

-- panel: quarantine
-- title: Quarantine
-- What could not be stored as an event, why, and of which task?
-- empty: Everything that was read could be stored.
-- limit: 20
SELECT x.reason, x.quarantined, x.task_id, k.label, x.first_at, x.last_at
FROM (SELECT substr(reason, 1, 300) AS reason, count(*) AS quarantined, task_id,
             min(quarantined_at) AS first_at, max(quarantined_at) AS last_at
      FROM quarantine
      WHERE (:task IS NULL OR task_id = :task)
      GROUP BY substr(reason, 1, 300), task_id
      ORDER BY quarantined DESC, reason, task_id
      LIMIT :limit) x
LEFT JOIN task k ON k.task_id = x.task_id
ORDER BY x.quarantined DESC, x.reason, x.task_id;

-- panel: kept
-- title: Changed, vanished, pruned and erased
-- How many events has upstream changed or withdrawn (both are kept), and how many lost their payload here or everywhere?
-- empty: Nothing is stored yet.
SELECT (SELECT count(*) FROM task_event_revision WHERE (:task IS NULL OR task_id = :task)) AS earlier_versions_kept,
       (SELECT count(*) FROM task_event
        WHERE vanished_at IS NOT NULL AND (:task IS NULL OR task_id = :task)) AS vanished_events,
       (SELECT count(*) FROM quarantine WHERE (:task IS NULL OR task_id = :task)) AS quarantined_elements,
       o.pruned_events, o.erased_events
FROM (SELECT count(CASE WHEN erased_at IS NULL THEN 1 END) AS pruned_events, count(erased_at) AS erased_events
      FROM task_event
      WHERE pruned_at IS NOT NULL AND (:task IS NULL OR task_id = :task)) o;

-- panel: removed
-- title: Pruned and erased
-- How many events of this time have no payload any more, if at most so many of those are read?
-- empty: Every event has its payload.
-- limit: 20000
SELECT count(*) AS read_rows,
       count(CASE WHEN occurred_at >= :since AND occurred_at < :until AND erased_at IS NULL THEN 1 END) AS pruned,
       count(CASE WHEN occurred_at >= :since AND occurred_at < :until AND erased_at IS NOT NULL THEN 1 END) AS erased,
       count(CASE WHEN occurred_at IS NULL AND vanished_at IS NULL AND erased_at IS NULL THEN 1 END) AS undated_pruned,
       count(CASE WHEN occurred_at IS NULL AND vanished_at IS NULL AND erased_at IS NOT NULL THEN 1 END) AS undated_erased
FROM (SELECT CASE WHEN vanished_at IS NULL THEN occurred_at END AS occurred_at, erased_at, vanished_at
      FROM task_event WHERE pruned_at IS NOT NULL AND :task IS NULL
      UNION ALL
      SELECT CASE WHEN vanished_at IS NULL THEN occurred_at END, erased_at, vanished_at
      FROM task_event WHERE pruned_at IS NOT NULL AND task_id = :task
      LIMIT :limit) o;

-- panel: removed-of-time
-- title: Pruned and erased
-- How many events of this time have no payload any more, if at most so many are read, the earliest first?
-- empty: Every event has its payload.
-- limit: 200000
SELECT count(*) AS read_rows,
       count(CASE WHEN pruned_at IS NOT NULL AND erased_at IS NULL AND vanished_at IS NULL THEN 1 END) AS pruned,
       count(CASE WHEN erased_at IS NOT NULL AND vanished_at IS NULL THEN 1 END) AS erased
FROM (SELECT pruned_at, erased_at, vanished_at FROM task_event
      WHERE occurred_at >= :since AND occurred_at < :until
      ORDER BY occurred_at
      LIMIT :limit) o;

-- panel: newest-event
-- title: Newest event
-- When was the newest event before a moment?
-- empty: Nothing is stored yet.
SELECT max(occurred_at) AS newest_at FROM task_event WHERE occurred_at < :until;

-- panel: models
-- title: Models
-- How many tokens did each model take and give, and what did it cost?
-- chart: ranked model: input_tokens as input, output_tokens as output
-- empty: No event of this time tells a model. Choose a longer time, or see what is read: `maia-sync facets explore`.
-- limit: 20
SELECT model, CAST(sum(input_tokens) AS bigint) AS input_tokens, CAST(sum(output_tokens) AS bigint) AS output_tokens,
       round(CAST(sum(cost) AS numeric), 5) AS cost, CAST(sum(events) AS bigint) AS events
FROM v_model_usage
WHERE day >= :since_day AND day <= :until_day
GROUP BY model
ORDER BY cost DESC NULLS LAST, input_tokens DESC NULLS LAST, model NULLS LAST
LIMIT :limit;

-- panel: users
-- title: Users
-- Who used agents most, and what came of it?
-- chart: ranked user_id: turns as user
-- empty: No turn of this time tells its user. Choose a longer time, or see what is read: `maia-sync facets explore`.
-- limit: 50
SELECT user_id, count(*) AS turns, count(DISTINCT task_id) AS tasks, CAST(sum(tool_calls) AS bigint) AS tool_calls,
       CAST(sum(errors) AS bigint) AS errors, CAST(sum(input_tokens) AS bigint) AS input_tokens,
       CAST(sum(output_tokens) AS bigint) AS output_tokens, round(CAST(sum(cost) AS numeric), 5) AS cost,
       max(last_at) AS last_at
FROM task_turn
WHERE user_id IS NOT NULL AND group_id <> '' AND events > 0 AND started_at >= :since AND started_at < :until
  AND (:task IS NULL OR task_id = :task)
GROUP BY user_id
ORDER BY turns DESC, user_id
LIMIT :limit;

-- panel: busiest-tasks
-- title: Busiest tasks
-- Which tasks had most events?
-- empty: No event is stored of this time.
-- limit: 20
SELECT a.task_id, t.label, CAST(sum(a.events) AS bigint) AS events, CAST(sum(a.tool_calls) AS bigint) AS tool_calls,
       CAST(sum(a.errors) AS bigint) AS errors, CAST(sum(a.input_tokens) AS bigint) AS input_tokens,
       CAST(sum(a.output_tokens) AS bigint) AS output_tokens, round(CAST(sum(a.cost) AS numeric), 5) AS cost
FROM task_activity a
LEFT JOIN task t ON t.task_id = a.task_id
WHERE a.day >= :since_day AND a.day <= :until_day AND a.slot_at >= :since AND a.slot_at < :until
GROUP BY a.task_id, t.label
HAVING sum(a.events) > 0
ORDER BY events DESC, a.task_id
LIMIT :limit;

-- panel: stored
-- title: Stored
-- How many events are stored in all, of how many tasks?
-- empty: Nothing is stored yet.
SELECT CAST(coalesce(sum(events + vanished_events), 0) AS bigint) AS stored_events, count(DISTINCT task_id) AS tasks_with_events
FROM task_turn
WHERE (:task IS NULL OR task_id = :task);
