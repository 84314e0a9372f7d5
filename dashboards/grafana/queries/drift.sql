-- name: drift_over_time
-- Score over threshold of the ten series that come furthest: at 1 it is drift.
with judged as (
    select window_end, feature || ' ' || detector || ' (' || model || ' ' || version || ')' as series,
           score / nullif(threshold, 0) as ratio
      from driftline.v_drift
     where $__timeFilter(window_end)
       and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
       and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
       and segment = ${segment:sqlstring} and level <> 'not_ready'
), furthest as (
    select series from judged group by series order by max(ratio) desc nulls last, series limit 10
)
select $__timeGroup(window_end, $__interval) as "time", series as metric, max(ratio) as value
  from judged join furthest using (series)
 group by 1, 2
 order by 1, 2;

-- name: nearest_to_drift
-- What is beyond its threshold, or nearest to it, in the last window of each model and version.
select feature, detector, model, version, level, score / nullif(threshold, 0) as "score / threshold", score, threshold,
       p_value as "p-value", n_reference as "n reference", n_current as "n current", window_end as "window end"
  from (select *, rank() over (partition by model, version order by window_end desc) as age
          from driftline.v_drift
         where $__timeFilter(window_end)
           and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
           and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
           and segment = ${segment:sqlstring} and level <> 'not_ready') judged
 where age = 1
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
