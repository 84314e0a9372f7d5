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
with share as (
    select q.window_end, feature || ' ' || kind.name || ' (' || q.model || ' ' || q.version || ')' as series, kind.share
      from driftline.v_data_quality q
     cross join lateral (values ('missing', q.missing_share), ('other', q.other_share)) kind (name, share)
     where $__timeFilter(q.window_end)
       and ('*' in (${model:sqlstring}) or q.model in (${model:sqlstring}))
       and ('*' in (${version:sqlstring}) or q.version in (${version:sqlstring}))
       and q.segment = ${segment:sqlstring}
), largest as (
    select series from share group by series order by max(share.share) desc nulls last, series limit 10
)
select $__timeGroup(window_end, $__interval) as "time", series as metric, max(share.share) as value
  from share join largest using (series)
 group by 1, 2
 order by 1, 2;
