-- name: find_dead_letters
-- What could not be used, the newest first; `n` is how many there are.
select dead_letter_id, at, reason, detail, model, topic, partition, record_offset, element, payload, published_at,
       replay_began_at, replayed_at, replayed_by, count(*) over () as n
  from driftline.dead_letter
 where (%(model)s::text is null or model = %(model)s)
   and (%(reason)s::text is null or reason = %(reason)s)
   and (%(topic)s::text is null or topic = %(topic)s)
   and (%(since)s::timestamptz is null or at >= %(since)s)
   and (not %(fresh_only)s::boolean or replay_began_at is null)
 order by dead_letter_id desc
 limit %(letters_max)s;

-- name: dead_letters_by_id
-- Some dead letters, in their order.
select dead_letter_id, at, reason, detail, model, topic, partition, record_offset, element, payload, published_at,
       replay_began_at, replayed_at, replayed_by
  from driftline.dead_letter
 where dead_letter_id = any (%(ids)s)
 order by dead_letter_id;

-- name: begin_replay
-- Whoever gets a row back is the one who sends it again; nobody else does unless that is meant.
update driftline.dead_letter
   set replay_began_at = now(), replayed_at = null, replayed_by = %(by)s
 where dead_letter_id = any (%(ids)s) and (replay_began_at is null or %(again)s::boolean)
returning dead_letter_id;

-- name: note_replayed
-- They are in their input topic again.
update driftline.dead_letter set replayed_at = now() where dead_letter_id = any (%(ids)s);
