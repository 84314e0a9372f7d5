-- name: missing_rights
-- What a worker must be allowed to do and this role is not, as words to be granted.
select coalesce(array_agg(missing.words order by missing.words), '{}') as words
  from (select format('%%s on %%s', privilege, t.oid::regclass) as words
          from pg_class t, unnest(array['select', 'insert', 'update', 'delete']) privilege
         where t.relnamespace = 'driftline'::regnamespace and t.relkind in ('r', 'p') and not t.relispartition
           and (privilege = 'select' or t.relname not in ('migration', 'installation'))
           and (privilege in ('select', 'insert') or t.relname <> 'audit')
           and not has_table_privilege(t.oid, privilege)
        union all
        select format('execute on function %%s', f.oid::regprocedure)
          from pg_proc f
         where f.pronamespace = 'driftline'::regnamespace and not has_function_privilege(f.oid, 'execute')) missing;

-- name: positions_of_topics
-- How far each partition is read, and of which topic it was.
select topic, partition, topic_id, next, newest_event, idle_through
  from driftline.stream_offset
 where topic = any (%(topics)s)
 order by topic, partition;

-- name: workers_and_ages
-- Which workers there are, and how long ago each was seen.
select worker_id, state, (extract(epoch from now() - seen_at) * 1000)::bigint as seen_ms_ago, jsonb_array_length(partitions) as n
  from driftline.worker
 order by worker_id;

-- name: worker_of_host
-- The worker of a host that was seen last and has not ended in order.
select worker_id, (extract(epoch from now() - seen_at) * 1000)::bigint as seen_ms_ago
  from driftline.worker
 where host = %(host)s and state <> 'stopped'
 order by seen_at desc
 limit 1;

-- name: dead_letters_of_a_day
-- How many dead letters the last day brought, by reason.
select reason, count(*) as n
  from driftline.dead_letter
 where at > now() - interval '1 day'
 group by reason
 order by n desc, reason;

-- name: stored_events
-- How many rows of events wait for labels, as the planner reckons, and what they take.
select parent.relname as name, coalesce(sum(greatest(leaf.reltuples, 0)), 0)::bigint as n,
       coalesce(sum(pg_total_relation_size(leaf.oid)), 0)::bigint as bytes
  from pg_class parent, pg_partition_tree(parent.oid) tree
  join pg_class leaf on leaf.oid = tree.relid
 where parent.relnamespace = 'driftline'::regnamespace and parent.relname in ('prediction', 'label', 'served_features')
   and tree.isleaf
 group by 1
 order by 1 desc;

-- name: open_episodes
-- Episodes that are open, and whether anybody looks after each.
select e.episode_id, m.name as model, e.version, e.kind, e.severity, e.acknowledged_by is not null as acknowledged
  from driftline.episode e
  join driftline.model m using (model_id)
 where e.closed_at is null
 order by e.severity, e.opened_at, e.episode_id;

-- name: false_alarms_spent
-- What the looks at each model cost of its budget in the newest period, and how many episodes of drift there were.
select model, max(budget) as budget, sum(expected) as expected, sum(looks)::bigint as looks,
       sum(episodes)::bigint as episodes, (extract(epoch from max(period_start)) * 1000)::bigint as since
  from (select a.*, max(period_end) over (partition by model) as newest from driftline.v_alarms a) a
 where period_end = newest
 group by model
 order by model;

-- name: accepted_references
-- Which references were accepted by hand, and not taken from the configuration.
select m.name as model, f.version, p.digest, f.since
  from driftline.profile_in_force f
  join driftline.model m using (model_id)
  join driftline.profile p using (profile_id)
 where f.accepted_over is not null
 order by m.name, f.version;

-- name: names_beyond_limits
-- How many events of each model had a name beyond a limit, and of what the segments that have a code are.
select c.model, c.reason, sum(c.n)::bigint as n,
       (select string_agg(of.field || ' ' || of.n, ', ' order by of.n desc, of.field)
          from (select split_part(s.segment, '=', 1) as field, count(*) as n
                  from driftline.v_segments s where s.model = c.model and s.segment <> '*' group by 1) of) as segments
  from driftline.event_count c
 where c.reason in ('version_beyond_limit', 'variant_beyond_limit', 'segment_beyond_limit', 'class_beyond_limit')
 group by c.model, c.reason
 order by sum(c.n) desc, c.model, c.reason;
