-- name: policy_states
-- What the policy remembers of each version of a model.
select version, content from driftline.policy_state where model_id = %(model_id)s;

-- name: save_policy_states
-- What the policy remembers from now on.
insert into driftline.policy_state (model_id, version, content)
select %(model_id)s, i.version, i.content
  from unnest(%(version)s::smallint[], %(content)s::jsonb[]) i (version, content)
on conflict (model_id, version) do update set content = excluded.content;

-- name: cohort_grains
-- Where the labelled predictions of a version lie, from a time on.
select distinct grain_start from driftline.rollup
 where model_id = %(model_id)s and kind = 'cohort' and version = %(version)s
   and grain_start >= %(from)s and grain_start < %(to)s
 order by 1
 limit %(grains_max)s;

-- name: save_episode
-- An episode as it is now; what people said of it stays.
insert into driftline.episode (episode_id, model_id, version, kind, severity, causes, opened_at, closed_at, closed_as)
values (%(episode_id)s, %(model_id)s, %(version)s, %(kind)s, %(severity)s, %(causes)s, %(opened_at)s, %(closed_at)s,
        %(closed_as)s)
on conflict (episode_id) do update
   set severity = excluded.severity, causes = excluded.causes, closed_at = excluded.closed_at,
       closed_as = excluded.closed_as;

-- name: add_to_outbox
-- A message that is to leave; one that was decided before has the same id.
insert into driftline.outbox (event_id, type, topic, model, version, segment, episode_id, occurred_at, payload)
values (%(event_id)s, %(type)s, %(topic)s, %(model)s, %(version)s, %(segment)s, %(episode_id)s, %(occurred_at)s,
        %(payload)s)
on conflict (event_id) do nothing;

-- name: tell_of_model
-- A message of a model as a whole, which no episode has; where the log says no time of it, it happened now.
insert into driftline.outbox (event_id, type, topic, model, version, segment, occurred_at, payload)
values (%(event_id)s, %(type)s, %(topic)s, %(model)s, '*', '*', coalesce(%(occurred_at)s, now()), %(payload)s)
on conflict (event_id) do nothing;

-- name: add_retraining
-- A request to retrain; where logs are read anew, what became of it may be known already, and stays.
insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at, lineage)
values (%(request_id)s, %(episode_id)s, %(model)s, %(version)s, 'requested', %(requested_at)s, %(lineage)s)
on conflict (request_id) do update
   set episode_id = excluded.episode_id, requested_at = excluded.requested_at, lineage = excluded.lineage;

-- name: spend
-- What windows cost of the false-alarm budget, beside what earlier ones of the period did.
insert into driftline.alarm_spending (model_id, version, period_start, period_end, budget, looks, expected_e12)
select %(model_id)s, i.version, i.period_start, i.period_end, %(budget)s, i.looks, i.expected_e12
  from unnest(%(version)s::smallint[], %(period_start)s::timestamptz[], %(period_end)s::timestamptz[],
              %(looks)s::bigint[], %(expected_e12)s::bigint[]) i (version, period_start, period_end, looks, expected_e12)
on conflict (model_id, version, period_start) do update
   set looks = alarm_spending.looks + excluded.looks,
       expected_e12 = alarm_spending.expected_e12 + excluded.expected_e12,
       budget = excluded.budget, period_end = excluded.period_end;
