-- name: find_episodes
-- Episodes with what became of their request, the open and grave ones first; `n` is how many there are.
select e.episode_id, m.name as model, e.version, e.kind, e.severity, e.causes, e.opened_at, e.closed_at, e.closed_as,
       e.acknowledged_by, e.acknowledged_at, e.snoozed_until, r.state as retraining, r.outcome as retraining_outcome,
       now() as now, count(*) over () as n
  from driftline.episode e
  join driftline.model m using (model_id)
  left join lateral (select state, outcome
                       from driftline.retraining
                      where episode_id = e.episode_id
                      order by requested_at desc
                      limit 1) r on true
 where (%(closed_too)s::boolean or e.closed_at is null)
   and (%(model)s::text is null or m.name = %(model)s)
   and replace(e.episode_id::text, '-', '') like %(beginning)s || '%%'
 order by e.closed_at desc nulls first, e.severity, e.opened_at desc, e.episode_id
 limit %(episodes_max)s;

-- name: how_much_was_judged
-- Whether any window was ever closed, and when the last episode was.
select (select max(closed_through) from driftline.evaluation) as closed_through,
       (select max(closed_at) from driftline.episode) as last_closed_at;

-- name: acknowledge_episode
-- Somebody looks after an episode; the first one who says so stays.
update driftline.episode
   set acknowledged_by = %(by)s, acknowledged_at = now()
 where episode_id = %(episode_id)s and acknowledged_at is null;

-- name: snooze_episode
-- Nobody is alerted about an open episode for a while, from now on; no while at all wakes it, and a closed one too.
update driftline.episode
   set snoozed_until = case when closed_at is not null then now()
                            when %(for_ms)s::bigint > 0 then now() + make_interval(secs => %(for_ms)s::bigint / 1000.0)
                       end
 where episode_id = %(episode_id)s
   and (closed_at is null or (%(for_ms)s::bigint = 0 and snoozed_until > now()));

-- name: audit
-- Who did what by hand.
insert into driftline.audit (actor, action, subject, detail) values (%(actor)s, %(action)s, %(subject)s, %(detail)s);
