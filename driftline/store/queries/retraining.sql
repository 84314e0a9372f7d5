-- name: put_statuses
-- Writes down what became of requests; what says less than is known, or says it again, changes nothing.
insert into driftline.retraining as known
       (request_id, episode_id, model, version, state, attempt, requested_at, told_at, finished_at, outcome, new_version)
select request_id, episode_id, model, version, state, attempt, at, at, case when state <> 'started' then at end, outcome,
       new_version
  from unnest(%(request_id)s::text[], %(episode_id)s::uuid[], %(model)s::text[], %(version)s::text[], %(state)s::text[],
              %(attempt)s::integer[], %(at)s::timestamptz[], %(outcome)s::text[], %(new_version)s::text[])
       told (request_id, episode_id, model, version, state, attempt, at, outcome, new_version)
 order by request_id
on conflict (request_id) do update
   set state = excluded.state, attempt = excluded.attempt, told_at = excluded.told_at,
       finished_at = excluded.finished_at, outcome = excluded.outcome, new_version = excluded.new_version
 where (excluded.finished_at is not null, excluded.attempt, excluded.told_at, excluded.state)
     > (known.finished_at is not null, known.attempt, coalesce(known.told_at, '-infinity'), known.state);
