-- What is older than it is kept for goes, a bounded number of rows at a time, and each statement tells how many of whom.

-- name: expire_verdicts
-- Forgets verdicts on windows that ended before a time, by model.
with gone as (
    delete from driftline.verdict
     where ctid = any (array(
           select old.ctid
             from unnest(%(model_ids)s::smallint[], %(before)s::timestamptz[]) kept (model_id, before)
             join driftline.v_segments s using (model_id)
            cross join lateral (select d.ctid from driftline.verdict d
                                 where d.model_id = kept.model_id and d.segment = s.code and d.window_end < kept.before
                                 limit %(rows_max)s) old
            limit %(rows_max)s))
    returning model_id)
select m.name as model, count(*)::bigint as n from gone join driftline.model m using (model_id) group by m.name;

-- name: expire_performance
-- Forgets metrics of windows that ended before a time, by model.
with gone as (
    delete from driftline.performance
     where ctid = any (array(
           select old.ctid
             from unnest(%(model_ids)s::smallint[], %(before)s::timestamptz[]) kept (model_id, before)
             join driftline.v_segments s using (model_id)
            cross join lateral (select p.ctid from driftline.performance p
                                 where p.model_id = kept.model_id and p.segment = s.code and p.window_end < kept.before
                                 limit %(rows_max)s) old
            limit %(rows_max)s))
    returning model_id)
select m.name as model, count(*)::bigint as n from gone join driftline.model m using (model_id) group by m.name;

-- name: expire_episodes
-- Forgets episodes that closed before a time, by model; open ones stay.
with gone as (
    delete from driftline.episode
     where ctid = any (array(
           select e.ctid
             from driftline.episode e
             join unnest(%(model_ids)s::smallint[], %(before)s::timestamptz[]) kept (model_id, before) using (model_id)
            where e.closed_at < kept.before
            limit %(rows_max)s))
    returning model_id)
select m.name as model, count(*)::bigint as n from gone join driftline.model m using (model_id) group by m.name;

-- name: expire_requests
-- Forgets requests to retrain that were made before a time, by model, whatever became of them.
with gone as (
    delete from driftline.retraining
     where ctid = any (array(
           select r.ctid
             from driftline.retraining r
             join driftline.model m on m.name = r.model
             join unnest(%(model_ids)s::smallint[], %(before)s::timestamptz[]) kept (model_id, before) using (model_id)
            where r.requested_at < kept.before
            limit %(rows_max)s))
    returning model)
select model, count(*)::bigint as n from gone group by model;

-- name: expire_spending
-- Forgets what periods that ended before a time cost of the false-alarm budget, by model.
with gone as (
    delete from driftline.alarm_spending
     where ctid = any (array(
           select a.ctid
             from driftline.alarm_spending a
             join unnest(%(model_ids)s::smallint[], %(before)s::timestamptz[]) kept (model_id, before) using (model_id)
            where a.period_end < kept.before
            limit %(rows_max)s))
    returning model_id)
select m.name as model, count(*)::bigint as n from gone join driftline.model m using (model_id) group by m.name;

-- name: note_states_seen
-- Counts what detectors remember from before it was noted when they saw something as seen now.
with noted as (update driftline.detector_state d set seen_through = e.closed_through
                 from driftline.evaluation e where e.model_id = d.model_id and d.seen_through is null)
update driftline.swing d set seen_through = e.closed_through
  from driftline.evaluation e where e.model_id = d.model_id and d.seen_through is null;

-- name: expire_states
-- Forgets what detectors remember of versions and segments of which nothing came since a time, by model.
with kept as (select * from unnest(%(model_ids)s::smallint[], %(before)s::timestamptz[]) k (model_id, before)),
gone as (
    delete from driftline.detector_state
     where ctid = any (array(
           select d.ctid from driftline.detector_state d join kept using (model_id)
            where d.seen_through < kept.before limit %(rows_max)s))
    returning model_id),
gone_swings as (
    delete from driftline.swing
     where ctid = any (array(
           select d.ctid from driftline.swing d join kept using (model_id)
            where d.seen_through < kept.before limit %(rows_max)s))
    returning model_id)
select m.name as model, count(*)::bigint as n
  from (table gone union all table gone_swings) gone join driftline.model m using (model_id)
 group by m.name;

-- name: expire_messages
-- Forgets messages that are done with, and their deliveries; what still waits for anybody stays.
with gone as (
    delete from driftline.outbox
     where ctid = any (array(
           select o.ctid
             from driftline.outbox o
            where o.created_at < now() - make_interval(secs => %(kept_s)s) and o.model = any (%(models)s)
              and (o.published_at is not null or o.failed_at is not null)
              and not exists (select from driftline.delivery d
                               where d.event_id = o.event_id
                                 and d.delivered_at is null and d.failed_at is null and d.dropped_at is null)
            limit %(rows_max)s))
    returning model)
select model, count(*)::bigint as n from gone group by model;

-- name: expire_dead_letters
-- Forgets dead letters of these input topics, also those that nobody could publish in all that time.
with gone as (
    delete from driftline.dead_letter
     where ctid = any (array(
           select l.ctid
             from driftline.dead_letter l
            where l.at < now() - make_interval(secs => %(kept_s)s) and l.topic = any (%(topics)s)
            limit %(rows_max)s))
    returning model)
select coalesce(model, '*') as model, count(*)::bigint as n from gone group by 1;
