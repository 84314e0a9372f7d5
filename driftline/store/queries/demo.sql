-- name: demo_counts
-- How many events of a model came, and how many of them are pairs of prediction and label.
select reason, sum(n)::bigint as n from driftline.v_counts where model = %(model)s group by reason;

-- name: demo_drifts
-- Every verdict of a model that says drift.
select segment, feature, detector, window_start, window_end, score, threshold
  from driftline.v_drift
 where model = %(model)s and level = 'drift'
 order by window_end, segment, feature, detector;

-- name: demo_windows
-- How many windows of a model are closed, and where the last one ends.
select count(distinct window_end) as n, max(window_end) as closed_through from driftline.v_drift where model = %(model)s;

-- name: demo_worst
-- The features that are nearest to their threshold, or furthest beyond it, in one window of all traffic.
select feature, max(score / threshold) as ratio,
       (array_agg(score order by score / threshold desc))[1] as score,
       (array_agg(threshold order by score / threshold desc))[1] as threshold
  from driftline.v_drift
 where model = %(model)s and segment = '*' and window_end = %(window_end)s and level <> 'not_ready' and threshold > 0
 group by feature
 order by ratio desc
 limit %(features_max)s;

-- name: demo_performance
-- Recall and precision of all traffic by window of the predictions, until some time.
select window_start, window_end, metric, value, low, high, coverage
  from driftline.v_performance
 where model = %(model)s and segment = '*' and basis = 'cohort' and metric in ('recall', 'precision')
   and window_end <= %(until)s
 order by window_end, metric;
