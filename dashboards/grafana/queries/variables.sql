-- name: models
-- The models of which anything was read; from the small table of counters, so that it costs nothing.
select distinct model from driftline.v_counts where model <> '*' order by model;

-- name: versions
-- The versions that were judged in the time range.
select distinct version
  from driftline.v_drift
 where $__timeFilter(window_end)
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and segment = '*'
 order by version;

-- name: segments
-- All traffic first, then the segments that were judged in the time range: one look at each is enough.
select segment
  from (select '*' as segment
         union
        select of.segment
          from driftline.v_segments of
         cross join lateral (select from driftline.v_drift d
                              where d.model = of.model and d.segment = of.segment and $__timeFilter(d.window_end)
                              limit 1) judged
         where '*' in (${model:sqlstring}) or of.model in (${model:sqlstring})) known
 order by segment <> '*', segment;

-- name: features
-- Features, the furthest from its reference first, so that it is the one that is shown.
select feature
  from driftline.v_drift
 where $__timeFilter(window_end)
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
   and segment = ${segment:sqlstring} and p_value is not null and level <> 'not_ready'
   and split_part(detector, '.', 1) <> 'traffic'
 group by feature
 order by max(score / nullif(threshold, 0)) desc nulls last, feature;

-- name: metrics
-- The metrics that were computed in the time range.
select distinct metric
  from driftline.v_performance
 where $__timeFilter(window_end)
   and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
   and segment = '*'
 order by metric;
