-- name: performance_of_cohorts
-- A metric by the time of the predictions, with its interval, and corrected for late labels; it matures as labels come.
select p.window_end as "time", line.name || ' (' || p.model || ' ' || p.version || ')' as metric, line.value
  from driftline.v_performance p
 cross join lateral (values (p.metric, p.value), ('low', p.low), ('high', p.high), ('corrected', p.corrected)) line (name, value)
 where $__timeFilter(p.window_end) and (line.name <> 'corrected' or line.value is not null)
   and ('*' in (${model:sqlstring}) or p.model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or p.version in (${version:sqlstring}))
   and p.segment = ${segment:sqlstring} and p.metric = ${metric:sqlstring} and p.basis = 'cohort'
 order by 1, 2;

-- name: performance_by_arrival
-- The same metric by the time at which labels came.
select window_end as "time", metric || ' by arrival (' || model || ' ' || version || ')' as metric, value
  from driftline.v_performance
 where $__timeFilter(window_end)
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
   and segment = ${segment:sqlstring} and metric = ${metric:sqlstring} and basis = 'arrival'
 order by 1, 2;

-- name: performance_estimated
-- The same metric as the scores lead one to expect it, before any label.
select window_end as "time", metric || ' estimated (' || model || ' ' || version || ')' as metric, value
  from driftline.v_performance
 where $__timeFilter(window_end)
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
   and segment = ${segment:sqlstring} and metric = ${metric:sqlstring} and basis = 'estimated'
 order by 1, 2;

-- name: floor
-- The floor under the metric, as it was when it was last broken.
select edge.at as "time", 'floor (' || broken.model || ' ' || broken.version || ')' as metric, broken.floor as value
  from (select distinct on (e.model, e.version) e.model, e.version, (cause ->> 'floor')::float8 as floor
          from driftline.v_events e
         cross join lateral jsonb_array_elements(e.payload -> 'data' -> 'causes') cause
         where e.type = 'driftline.performance.degraded'
           and ('*' in (${model:sqlstring}) or e.model in (${model:sqlstring}))
           and ('*' in (${version:sqlstring}) or e.version in (${version:sqlstring}))
           and cause ->> 'metric' = ${metric:sqlstring}
         order by e.model, e.version, e.occurred_at desc) broken
 cross join (values ($__timeFrom()::timestamptz), ($__timeTo()::timestamptz)) edge (at)
 order by 1, 2;

-- name: coverage
-- The share of predictions whose label is in.
select window_end as "time", 'labels in (' || model || ' ' || version || ')' as metric, coverage as value
  from driftline.v_performance
 where $__timeFilter(window_end)
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
   and segment = ${segment:sqlstring} and metric = ${metric:sqlstring} and basis = 'cohort'
 order by 1, 2;

-- name: latest_metrics
-- All metrics of the last window in which each is known.
with latest as (
    select model, version, basis, metric, max(window_end) as window_end
      from driftline.v_performance
     where $__timeFilter(window_end)
       and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
       and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
       and segment = ${segment:sqlstring} and value is not null
     group by model, version, basis, metric
)
select metric, basis, model, version, value, low, high, coverage, n_labelled as "labels", window_end as "window end"
  from driftline.v_performance
  join latest using (model, version, basis, metric, window_end)
 where segment = ${segment:sqlstring}
 order by model, version, basis desc, metric
 limit 100;
