-- name: drift_over_time
-- Score over threshold of the ten series that come furthest: at 1 it is drift.
with furthest as (
    select model, version, feature, detector
      from driftline.v_drift
     where $__timeFilter(window_end)
       and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
       and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
       and segment = ${segment:sqlstring} and level <> 'not_ready'
     group by model, version, feature, detector
     order by max(score / nullif(threshold, 0)) desc nulls last, feature, detector, model, version
     limit 10
)
select $__timeGroup(window_end, $__interval) as "time",
       feature || ' ' || detector || ' (' || model || ' ' || version || ')' as metric,
       max(score / nullif(threshold, 0)) as value
  from driftline.v_drift
  join furthest using (model, version, feature, detector)
 where $__timeFilter(window_end) and segment = ${segment:sqlstring} and level <> 'not_ready'
 group by 1, 2
 order by 1, 2;

-- name: nearest_to_drift
-- What is beyond its threshold, or nearest to it, in the last window of each model and version.
with latest as (
    select model, version, max(window_end) as window_end
      from driftline.v_drift
     where $__timeFilter(window_end)
       and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
       and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
       and segment = ${segment:sqlstring} and level <> 'not_ready'
     group by model, version
)
select feature, detector, model, version, level, score / nullif(threshold, 0) as "score / threshold", score, threshold,
       p_value as "p-value", n_reference as "n reference", n_current as "n current", window_end as "window end"
  from driftline.v_drift
  join latest using (model, version, window_end)
 where segment = ${segment:sqlstring} and level <> 'not_ready'
 order by "score / threshold" desc nulls last, feature
 limit 25;

-- name: distribution
-- Shares of a feature's bins in its last window and in the reference.
select label as "bin", reference_share as "reference", current_share as "last window"
  from (select *, rank() over (order by window_start desc, model, version) as age
          from driftline.v_distribution
         where window_start >= $__timeFrom() and window_start < $__timeTo()
           and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
           and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
           and segment = ${segment:sqlstring} and feature = ${feature:sqlstring}) known
 where age = 1
 order by known.bin;
