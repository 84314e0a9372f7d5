-- name: export_drift
-- The rows of v_drift as a replay writes them.
select model, version, segment, feature,
       to_char(window_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as window_start,
       to_char(window_end at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as window_end,
       detector, score, threshold, p_value, n_reference, n_current, level, revision, reason
  from driftline.v_drift
 order by model, version, driftline.v_drift.window_end, segment, feature, detector;

-- name: export_performance
-- The rows of v_performance as a replay writes them.
select model, version, segment,
       to_char(window_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as window_start,
       to_char(window_end at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as window_end,
       basis, metric, value, low, high, n_predictions, n_labelled, coverage, revision, reason,
       corrected, corrected_low, corrected_high, n_effective, expected_coverage,
       to_char(mature_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as mature_at
  from driftline.v_performance
 order by model, version, driftline.v_performance.window_end, segment, basis, metric;

-- name: export_events
-- Outgoing events in the order they were decided.
select payload::text from driftline.outbox order by sequence;

-- name: replay_totals
-- What a replay says of the store it filled. Each partition is read once: probing all of them for every label takes
-- minutes where the horizon is short and the log is long.
with label_found as (
    select p.key is not null as found, count(*) as n
      from driftline.label l
      left join (select distinct key from driftline.prediction) p on p.key = l.key
     group by 1
)
select (select count(*) from driftline.outbox where type = 'driftline.drift.detected')::bigint as drift_events,
       (select count(*) from driftline.outbox where type = 'driftline.performance.degraded')::bigint as performance_events,
       (select count(*) from driftline.outbox where type = 'driftline.retraining.requested')::bigint as retraining_requests,
       coalesce((select n from label_found where found), 0)::bigint as labels_joined,
       coalesce((select n from label_found where not found), 0)::bigint as labels_unmatched;

-- name: holds_events
-- Whether anything was ever read into this store.
select exists (select from driftline.stream_offset) as found;
