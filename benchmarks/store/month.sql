-- name: month_models
-- More models like the first, which the system itself has written.
insert into driftline.model (name, horizons_s, settings)
select 'model-' || lpad(n::text, 3, '0'), horizons_s, settings
  from driftline.model, generate_series(2, %(models)s) n
 where model_id = 1;

-- name: month_names
-- Their codes.
insert into driftline.name (model_id, kind, code, name)
select m.model_id, n.kind, n.code, n.name from driftline.name n, driftline.model m where n.model_id = 1 and m.model_id <> 1;

-- name: month_profiles_in_force
-- Their references.
insert into driftline.profile_in_force (model_id, version, profile_id)
select m.model_id, f.version, f.profile_id
  from driftline.profile_in_force f, driftline.model m where f.model_id = 1 and m.model_id <> 1;

-- name: month_verdicts
-- The day of verdicts again, for every model and day but the first, in the order in which windows close.
insert into driftline.verdict (model_id, version, segment, feature, detector, window_start, window_end, score, threshold,
                               p_value, n_reference, n_current, level, revision, profile_id, counts, changed_at)
select m.model_id, v.version, v.segment, v.feature, v.detector, v.window_start + d.shift, v.window_end + d.shift,
       v.score * (0.5 + random()), v.threshold, v.p_value, v.n_reference, v.n_current, v.level, v.revision, v.profile_id,
       v.counts, v.changed_at + d.shift
  from driftline.verdict v
 cross join driftline.model m
 cross join (select n, make_interval(days => n) as shift from generate_series(0, %(days)s - 1) n) d
 where v.model_id = 1 and (m.model_id, d.n) <> (1, 0)
 order by v.window_end + d.shift, m.model_id, v.detector desc, v.version, v.segment
    on conflict do nothing;

-- name: month_performance
-- The day of metrics again.
insert into driftline.performance (model_id, version, segment, window_start, window_end, basis, metric, value, low, high,
                                   n_predictions, n_labelled, coverage, revision)
select m.model_id, p.version, p.segment, p.window_start + d.shift, p.window_end + d.shift, p.basis, p.metric, p.value, p.low,
       p.high, p.n_predictions, p.n_labelled, p.coverage, p.revision
  from driftline.performance p
 cross join driftline.model m
 cross join (select n, make_interval(days => n) as shift from generate_series(0, %(days)s - 1) n) d
 where p.model_id = 1 and (m.model_id, d.n) <> (1, 0)
 order by p.window_end + d.shift, m.model_id
    on conflict do nothing;

-- name: month_rollups
-- The day of rollups again.
insert into driftline.rollup (model_id, kind, grain_start, version, segment, profile_id, n, vector)
select m.model_id, r.kind, r.grain_start + d.shift, r.version, r.segment, r.profile_id, r.n, r.vector
  from driftline.rollup r
 cross join driftline.model m
 cross join (select n, make_interval(days => n) as shift from generate_series(0, %(days)s - 1) n) d
 where r.model_id = 1 and (m.model_id, d.n) <> (1, 0)
 order by r.grain_start + d.shift, m.model_id
    on conflict do nothing;

-- name: month_states
-- What the evaluator remembers of each model.
with evaluations as (
    insert into driftline.evaluation (model_id, closed_through, restated_at)
    select m.model_id, e.closed_through + make_interval(days => %(days)s - 1), e.restated_at
      from driftline.evaluation e, driftline.model m where e.model_id = 1 and m.model_id <> 1
), detectors as (
    insert into driftline.detector_state
    select m.model_id, s.version, s.segment, s.profile_id, s.spec, s.judged_through, s.content
      from driftline.detector_state s, driftline.model m where s.model_id = 1 and m.model_id <> 1
)
insert into driftline.policy_state
select m.model_id, s.version, s.content from driftline.policy_state s, driftline.model m where s.model_id = 1 and m.model_id <> 1;

-- name: month_episodes
-- The day's episodes again, all closed, with ids of their own; those of the last day are open.
insert into driftline.episode (episode_id, model_id, version, kind, severity, causes, opened_at, closed_at, closed_as)
select md5(e.episode_id::text || m.model_id || d.n)::uuid, m.model_id, e.version, e.kind, e.severity, e.causes,
       e.opened_at + d.shift, case when d.n < %(days)s - 1 then coalesce(e.closed_at, e.opened_at + interval '6 h') + d.shift end,
       case when d.n < %(days)s - 1 then 'recovered' end
  from driftline.episode e
 cross join driftline.model m
 cross join (select n, make_interval(days => n) as shift from generate_series(0, %(days)s - 1) n) d
 where e.model_id = 1 and (m.model_id, d.n) <> (1, 0);

-- name: month_outbox
-- The day's messages again, all published.
insert into driftline.outbox (event_id, type, topic, model, version, segment, episode_id, occurred_at, created_at, published_at,
                              fanned_out_at, attempts, payload)
select md5(o.event_id || m.model_id || d.n), o.type, o.topic, m.name, o.version, o.segment,
       md5(o.episode_id::text || m.model_id || d.n)::uuid, o.occurred_at + d.shift, o.occurred_at + d.shift,
       o.occurred_at + d.shift, o.occurred_at + d.shift, 1, o.payload
  from driftline.outbox o
  join driftline.model one on one.name = o.model and one.model_id = 1
 cross join driftline.model m
 cross join (select n, make_interval(days => n) as shift from generate_series(0, %(days)s - 1) n) d
 where (m.model_id, d.n) <> (1, 0)
 order by o.occurred_at + d.shift;

-- name: month_deliveries
-- Each message was told to two webhooks.
insert into driftline.delivery (event_id, webhook, sequence, episode_id, created_at, delivered_at, attempts)
select o.event_id, w.webhook, o.sequence, o.episode_id, o.created_at, o.created_at, 1
  from driftline.outbox o, (values ('on-call'), ('chat')) w (webhook)
 order by o.sequence;

-- name: month_retraining
-- Each request was finished.
insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at, finished_at, outcome, lineage)
select md5(r.request_id || m.model_id || d.n), md5(r.episode_id::text || m.model_id || d.n)::uuid, m.name, r.version,
       'succeeded', r.requested_at + d.shift, r.requested_at + d.shift + interval '1 h', 'trained', r.lineage
  from driftline.retraining r
  join driftline.model one on one.name = r.model and one.model_id = 1
 cross join driftline.model m
 cross join (select n, make_interval(days => n) as shift from generate_series(0, %(days)s - 1) n) d
 where (m.model_id, d.n) <> (1, 0);

-- name: month_partitions
-- Room for the month's predictions and labels.
select sum(driftline.ensure_partitions(parent, of.horizon_s, %(first)s, %(last)s))
  from unnest(array['prediction', 'label']) parent, (select horizons_s[1] as horizon_s from driftline.model where model_id = 1) of;

-- name: month_predictions
-- One day's predictions again, under keys of their own; the first of them have the same keys as their labels.
insert into driftline.prediction (horizon_s, model_id, key, version, variant, event_time, prediction, score, segments,
                                  has_features, late)
select p.horizon_s, m.model_id, md5(p.key::text || m.model_id || %(day)s)::uuid, p.version, p.variant,
       p.event_time + make_interval(days => %(day)s), p.prediction, p.score, p.segments, p.has_features, p.late
  from driftline.prediction p
 cross join driftline.model m
 where p.model_id = 1 and p.event_time < %(first)s + interval '1 day' and (m.model_id, %(day)s) <> (1, 0)
 order by md5(p.key::text || m.model_id || %(day)s)::uuid;

-- name: month_labels
-- One day's labels again.
insert into driftline.label (horizon_s, model_id, key, event_time, label, reward, late)
select l.horizon_s, m.model_id, md5(l.key::text || m.model_id || %(day)s)::uuid,
       l.event_time + make_interval(days => %(day)s), l.label, l.reward, l.late
  from driftline.label l
  join driftline.prediction p on p.key = l.key and p.model_id = 1 and p.event_time < %(first)s + interval '1 day'
 cross join driftline.model m
 where l.model_id = 1 and (m.model_id, %(day)s) <> (1, 0);

-- name: month_spending
-- What each model spent of its budget in each day, as if that was its period.
insert into driftline.alarm_spending (model_id, version, period_start, period_end, looks, budget, expected_e12)
select m.model_id, s.version, %(first)s + make_interval(days => d), %(first)s + make_interval(days => d + 1),
       s.looks, s.budget, s.expected_e12
  from driftline.alarm_spending s, driftline.model m, generate_series(0, %(days)s - 1) d
 where s.model_id = 1
    on conflict do nothing;

-- name: month_counts
-- Counters of every model in 32 partitions of three topics.
insert into driftline.event_count (topic, partition, model, reason, n)
select t.topic, p.partition, m.name, r.reason, 1 + (random() * 1e6)::bigint
  from (values ('driftline.predictions'), ('driftline.labels'), ('driftline.features')) t (topic),
       generate_series(0, 31) p (partition), driftline.model m,
       unnest(array['prediction', 'label', 'pair', 'late_prediction', 'repeated_prediction', 'dead_bad_timestamp',
                    'dead_missing_field', 'unknown_field']) r (reason)
    on conflict do nothing;

-- name: month_offsets
-- How far those partitions were read.
insert into driftline.stream_offset (topic, partition, topic_id, next, newest_event, end_offset)
select t.topic, p.partition, '', 1e6, %(last)s, 1e6 + 10
  from (values ('driftline.predictions'), ('driftline.labels'), ('driftline.features')) t (topic),
       generate_series(0, 31) p (partition)
    on conflict do nothing;

-- name: month_dead_letters
-- A thousand a day, published.
insert into driftline.dead_letter (at, reason, detail, model, topic, partition, record_offset, element, payload, published_at)
select %(first)s + n * make_interval(secs => 86.4), 'missing_field', 'features: is required', 'model-001', 'driftline.predictions',
       n %% 32, n, 0, convert_to(repeat('x', 460), 'UTF8'), %(first)s + n * make_interval(secs => 86.4)
  from generate_series(0, 1000 * %(days)s - 1) n;

-- name: month_workers
-- Two workers that are alive.
insert into driftline.worker (worker_id, host, pid, state, partitions)
select 'worker-' || w, 'host', w, 'running',
       (select jsonb_agg(jsonb_build_array(topic, partition)) from driftline.stream_offset where partition %% 2 = w)
  from generate_series(0, 1) w;
