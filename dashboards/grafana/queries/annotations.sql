-- name: alarms
-- When drift, a loss of performance, or a fault of data or traffic was found.
select occurred_at as "time",
       case type when 'driftline.drift.detected' then 'Drift detected: '
                 when 'driftline.quality.detected' then 'Data broken: '
                 when 'driftline.traffic.detected' then 'Traffic changed: '
                 else 'Performance degraded: ' end || model || ' ' || version as text,
       replace(type, 'driftline.', '') as tags
  from driftline.v_events
 where $__timeFilter(occurred_at)
   and type in ('driftline.drift.detected', 'driftline.performance.degraded', 'driftline.quality.detected',
                'driftline.traffic.detected')
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}));

-- name: recoveries
-- When it was over.
select occurred_at as "time",
       case type when 'driftline.drift.recovered' then 'Drift over: '
                 when 'driftline.quality.recovered' then 'Data whole again: '
                 when 'driftline.traffic.recovered' then 'Traffic as before: '
                 else 'Performance recovered: ' end || model || ' ' || version as text,
       replace(type, 'driftline.', '') as tags
  from driftline.v_events
 where $__timeFilter(occurred_at)
   and type in ('driftline.drift.recovered', 'driftline.performance.recovered', 'driftline.quality.recovered',
                'driftline.traffic.recovered')
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
