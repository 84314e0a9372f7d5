-- name: open_episodes
-- How many episodes are open now.
select count(*) as "open episodes"
  from driftline.v_episodes
 where closed_at is null
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}));

-- name: open_requests
-- How many retraining requests nobody has finished.
select count(*) as "open requests"
  from driftline.v_retraining
 where finished_at is null
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}));

-- name: workers_alive
-- How many workers were seen in the last half minute.
select count(*) as "workers"
  from driftline.v_workers
 where state <> 'stopped' and seen_at > now() - interval '30 seconds';

-- name: lag
-- How many records the workers still have to read.
select coalesce(sum(lag), 0)::bigint as "records"
  from driftline.v_workers
 where state <> 'stopped' and seen_at > now() - interval '30 seconds';

-- name: dead_letters
-- How many events could not be used since counting began.
select coalesce(sum(n), 0)::bigint as "dead letters"
  from driftline.v_counts
 where starts_with(reason, 'dead_')
   and ('*' in (${model:sqlstring}) or model in ('*', ${model:sqlstring}));

-- name: late_events
-- How many events came late since counting began.
select coalesce(sum(n), 0)::bigint as "late events"
  from driftline.v_counts
 where starts_with(reason, 'late_')
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}));

-- name: episodes
-- Episodes that are open or touch the time range, a row for each cause, the open ones first.
select case when e.closed_at is null then 'open' else 'closed' end as state,
       e.kind, e.severity, e.model, e.version,
       e.opened_at as "opened", e.closed_at as "closed",
       coalesce(c.cause ->> 'feature', c.cause ->> 'metric') as "cause",
       c.cause ->> 'segment' as segment,
       coalesce(c.cause ->> 'detector', c.cause ->> 'basis') as "seen by",
       coalesce(c.cause ->> 'score', c.cause ->> 'value')::float8 as "measured",
       coalesce(c.cause ->> 'threshold', c.cause ->> 'floor')::float8 as "limit",
       e.acknowledged_by as "acknowledged by"
  from driftline.v_episodes e
  left join lateral jsonb_array_elements(e.causes) with ordinality c (cause, place) on true
 where (e.closed_at is null or (e.closed_at >= $__timeFrom() and e.opened_at <= $__timeTo()))
   and ('*' in (${model:sqlstring}) or e.model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or e.version in (${version:sqlstring}))
 order by e.closed_at is not null, e.opened_at desc, e.episode_id, c.place
 limit 100;

-- name: retraining
-- Retraining requests of the time range and unfinished ones, with what moved and what data to train on.
select r.requested_at as "requested", r.model, r.version, r.state, r.outcome, r.finished_at as "finished",
       (select string_agg(feature, ', ') from jsonb_array_elements_text(r.lineage -> 'features') feature) as "features",
       (r.lineage -> 'recommended_window' ->> 'from')::timestamptz as "train from",
       (r.lineage -> 'recommended_window' ->> 'to')::timestamptz as "train to",
       r.request_id as "request"
  from driftline.v_retraining r
 where ($__timeFilter(r.requested_at) or r.finished_at is null)
   and ('*' in (${model:sqlstring}) or r.model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or r.version in (${version:sqlstring}))
 order by r.requested_at desc
 limit 100;

-- name: workers
-- Every worker of the last day, with what it reads and how far behind it is.
select worker_id as "worker", host, pid,
       case when state <> 'stopped' and seen_at < now() - interval '30 seconds' then 'gone' else state end as state,
       extract(epoch from now() - seen_at)::float8 as "not seen for",
       jsonb_array_length(partitions) as "partitions",
       coalesce(lag, 0)::bigint as "lag"
  from driftline.v_workers
 order by seen_at desc
 limit 100;
