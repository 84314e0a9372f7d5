-- name: traffic
-- Predictions by their own time, labels by the time they met their prediction.
select t.window_end as "time",
       kind.name || ' (' || t.model || ' ' || t.version || ')' as metric,
       kind.n / extract(epoch from t.window_end - t.window_start)::float8 as value
  from driftline.v_traffic t
 cross join lateral (values ('predictions', t.n_predictions), ('labels', t.n_labelled)) kind (name, n)
 where $__timeFilter(t.window_start)
   and ('*' in (${model:sqlstring}) or t.model in (${model:sqlstring}))
   and ('*' in (${version:sqlstring}) or t.version in (${version:sqlstring}))
   and t.segment = ${segment:sqlstring}
 order by 1, 2;

-- name: counts
-- What became of every record, since counting began.
select model, reason, sum(n)::bigint as "events"
  from driftline.v_counts
 where n <> 0
   and ('*' in (${model:sqlstring}) or model in ('*', ${model:sqlstring}))
 group by model, reason
 order by "events" desc, model, reason
 limit 100;

-- name: missing_and_other
-- Shares of values that are missing or can't be used, of the ten series that reach the largest.
with largest as (
    select q.model, q.version, q.feature, kind.name
      from (select model, version, feature, max(missing_share) as missing, max(other_share) as other
              from driftline.v_data_quality
             where $__timeFilter(window_end)
               and ('*' in (${model:sqlstring}) or model in (${model:sqlstring}))
               and ('*' in (${version:sqlstring}) or version in (${version:sqlstring}))
               and segment = ${segment:sqlstring}
             group by model, version, feature) q
     cross join lateral (values ('missing', q.missing), ('other', q.other)) kind (name, share)
     order by kind.share desc nulls last, q.feature, kind.name, q.model, q.version
     limit 10
)
select $__timeGroup(window_end, $__interval) as "time",
       feature || ' ' || largest.name || ' (' || model || ' ' || version || ')' as metric,
       max(case largest.name when 'missing' then missing_share else other_share end) as value
  from driftline.v_data_quality
  join largest using (model, version, feature)
 where $__timeFilter(window_end) and segment = ${segment:sqlstring}
 group by 1, 2
 order by 1, 2;
