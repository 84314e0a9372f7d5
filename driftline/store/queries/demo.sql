-- name: demo_counts
-- How many events of a model came, and how many of them are pairs of prediction and label.
select reason, sum(n)::bigint as n from driftline.v_counts where model = %(model)s group by reason;

-- name: demo_windows
-- How many windows of a model are closed, and where the last one ends.
select count(distinct window_end) as n, max(window_end) as closed_through from driftline.v_drift where model = %(model)s;

-- name: demo_features
-- The features that are furthest beyond their threshold, or nearest to it, in one window of all traffic.
select feature, detector, score, threshold, level
  from (select distinct on (feature) feature, detector, score, threshold, level
          from driftline.v_drift
         where model = %(model)s and segment = '*' and window_end = %(window_end)s and level <> 'not_ready'
           and threshold > 0 and detector !~ '^(quality|traffic)[.]'
         order by feature, score / threshold desc) clearest
 order by score / threshold desc
 limit %(features_max)s;

-- name: demo_recall
-- Recall of all traffic by window of the predictions, the latest first.
select window_start, window_end, value, low, high, coverage
  from driftline.v_performance
 where model = %(model)s and segment = '*' and basis = 'cohort' and metric = 'recall'
 order by window_end desc
 limit %(windows_max)s;

-- name: demo_episodes
-- Every episode of a model: its causes at their clearest, and as they were told when it opened.
select e.episode_id, e.kind, e.opened_at, e.closed_at, e.causes, told.payload -> 'data' -> 'causes' as opened_by
  from driftline.v_episodes e
  join driftline.v_events told using (episode_id)
 where e.model = %(model)s and told.type in ('driftline.drift.detected', 'driftline.performance.degraded')
 order by e.opened_at, e.kind;

-- name: demo_retraining
-- Every request to retrain a model, and what came of it.
select request_id, episode_id, state, requested_at, finished_at, outcome
  from driftline.v_retraining
 where model = %(model)s
 order by requested_at, request_id;

-- name: demo_events
-- How many messages of each type are to go out, and how many did.
select type, count(*) as n, count(published_at) as n_published from driftline.v_events where model = %(model)s group by type;
