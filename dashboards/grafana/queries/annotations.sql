-- name: alarms
-- When drift or a loss of performance was found.
select occurred_at as "time",
       case type when 'driftline.drift.detected' then 'Drift detected: ' else 'Performance degraded: ' end || model || ' ' || version as text,
       replace(type, 'driftline.', '') as tags
  from driftline.v_events
 where $__timeFilter(occurred_at)
   and type in ('driftline.drift.detected', 'driftline.performance.degraded')
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}));

-- name: recoveries
-- When it was over.
select occurred_at as "time",
       case type when 'driftline.drift.recovered' then 'Drift over: ' else 'Performance recovered: ' end || model || ' ' || version as text,
       replace(type, 'driftline.', '') as tags
  from driftline.v_events
 where $__timeFilter(occurred_at)
   and type in ('driftline.drift.recovered', 'driftline.performance.recovered')
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}));

-- name: requests
-- When a retraining was asked for.
select occurred_at as "time", 'Retraining requested: ' || model || ' ' || version as text, 'retraining.requested' as tags
  from driftline.v_events
 where $__timeFilter(occurred_at)
   and type = 'driftline.retraining.requested'
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}));
