-- name: begin_fetch
-- Bounds on waiting, and plans that probe the key indexes whatever the planner knows of the tables; compiling them would
-- take longer than running them.
select set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true) as idle,
       set_config('lock_timeout', %(lock_ms)s, true) as lock,
       case when current_setting('server_version_num')::integer >= 170000
            then set_config('transaction_timeout', %(whole_ms)s, true) end as whole,
       set_config('jit', 'off', true) as jit, set_config('enable_hashjoin', 'off', true) as hash, set_config('enable_mergejoin', 'off', true) as merge,
       set_config('enable_seqscan', 'off', true) as sequential, set_config('enable_bitmapscan', 'off', true) as bitmap;

-- name: bound_hold
-- How long a transaction may be idle, so that nobody who is stopped or cut off in it holds its locks for ever; and how
-- long it may last, since a server that has half a statement and waits for the rest does not call that idle.
select set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true) as idle,
       set_config('lock_timeout', coalesce(%(lock_ms)s::text, current_setting('lock_timeout')), true) as lock,
       case when current_setting('server_version_num')::integer >= 170000
            then set_config('transaction_timeout', %(whole_ms)s, true) end as whole;

-- name: lock_offset
-- The fence: holds a partition's row, and says where the log goes on.
select next, topic_id
  from driftline.stream_offset
 where topic = %(topic)s and partition = %(partition)s
   for update;

-- name: advance_offset
-- Moves a partition on, in the transaction of its results.
update driftline.stream_offset
   set next = %(next)s, newest_event = %(newest_event)s, advanced_at = now(), caught_up_since = null
 where topic = %(topic)s and partition = %(partition)s;

-- name: register_partition
-- Makes a partition known, so that it holds the watermark back until it is read.
insert into driftline.stream_offset (topic, partition, topic_id, next)
values (%(topic)s, %(partition)s, %(topic_id)s, %(next)s)
on conflict do nothing;

-- name: partition_position
-- Where a partition goes on, of which topic it is, and how far it is in event time.
select next, topic_id, newest_event from driftline.stream_offset where topic = %(topic)s and partition = %(partition)s;

-- name: skip_lost_records
-- Goes on behind records that the log no longer holds.
update driftline.stream_offset set next = %(next)s where topic = %(topic)s and partition = %(partition)s and next = %(start)s;

-- name: partitions_of_topics
-- How far each partition is read, for the watermark.
select topic, partition, next, newest_event, idle_through, end_offset, caught_up_since
  from driftline.stream_offset
 where topic = any (%(topics)s);

-- name: note_end_offset
-- Records a broker's end offset; a partition read to its end long enough promises that nothing older will come.
update driftline.stream_offset o
   set end_offset = %(end_offset)s,
       caught_up_since = case when reached.the_end then coalesce(caught_up_since, now()) end,
       idle_through = case when reached.the_end
                            and caught_up_since <= now() - make_interval(secs => %(idle_after_s)s)
                           then greatest(idle_through, %(newest_elsewhere)s) else idle_through end
  from (select topic, partition,
               next >= %(end_offset)s or (next = %(read_from)s and %(read_to)s >= %(end_offset)s) as the_end
          from driftline.stream_offset) reached
 where o.topic = %(topic)s and o.partition = %(partition)s
   and reached.topic = o.topic and reached.partition = o.partition;

-- name: count_events
-- Adds to the counters of one partition, which only its reader writes.
insert into driftline.event_count (topic, partition, model, reason, n)
select %(topic)s, %(partition)s, * from unnest(%(model)s::text[], %(reason)s::text[], %(n)s::bigint[])
on conflict (topic, partition, model, reason) do update set n = event_count.n + excluded.n;

-- name: add_dead_letters
-- Keeps what could not be used, with its reason and place.
insert into driftline.dead_letter (topic, partition, reason, detail, model, record_offset, element, payload)
select %(topic)s, %(partition)s, *
  from unnest(%(reason)s::text[], %(detail)s::text[], %(model)s::text[], %(record_offset)s::bigint[],
              %(element)s::integer[], %(payload)s::bytea[]);

-- name: unpublished_dead_letters
-- Dead letters of these input topics that still have to go to theirs; another relay's are left to it.
select dead_letter_id, at, reason, detail, model, topic, partition, record_offset, element, payload
  from driftline.dead_letter
 where published_at is null and topic = any (%(inputs)s)
 order by dead_letter_id
 limit %(letters_max)s
   for update skip locked;

-- name: mark_dead_letters_published
-- They are in the topic now.
update driftline.dead_letter set published_at = now() where dead_letter_id = any (%(ids)s);

-- name: beat
-- A worker says that it is alive, and what it reads.
insert into driftline.worker (worker_id, host, pid, state, partitions)
values (%(worker_id)s, %(host)s, %(pid)s, %(state)s, %(partitions)s)
on conflict (worker_id) do update set seen_at = now(), state = excluded.state, partitions = excluded.partitions;

-- name: forget_workers
-- Drops workers that have not been seen for a day.
delete from driftline.worker where seen_at < now() - interval '1 day';
