-- name: topics_with_messages_due
-- Where something of these models waits to be published; another configuration's models are for its own relay.
select distinct topic
  from driftline.outbox
 where published_at is null and failed_at is null and next_attempt_at <= now() and model = any (%(models)s)
 order by topic;

-- name: messages_due
-- What may be published now: of each episode the oldest; another relay's are left to it.
select m.sequence, m.event_id, m.episode_id, m.attempts, m.payload::text as payload
  from driftline.outbox m
 where m.topic = %(topic)s and m.published_at is null and m.failed_at is null and m.next_attempt_at <= now()
   and m.model = any (%(models)s)
   and (m.episode_id is null
        or m.sequence = (select oldest.sequence
                           from driftline.outbox oldest
                          where oldest.episode_id = m.episode_id
                            and oldest.published_at is null and oldest.failed_at is null
                          order by oldest.sequence
                          limit 1))
 order by m.sequence
 limit %(messages_max)s
   for update skip locked;

-- name: mark_published
-- They are in their topic now.
update driftline.outbox
   set published_at = now(), attempts = attempts + 1, last_error = null
 where sequence = any (%(sequences)s);

-- name: postpone_message
-- It could not be published: tried again later, or given up if it is too old.
update driftline.outbox
   set attempts = attempts + 1, last_error = %(last_error)s,
       next_attempt_at = now() + make_interval(secs => %(wait_ms)s / 1000.0),
       failed_at = case when created_at <= now() - make_interval(secs => %(age_max_ms)s / 1000.0) then now() end
 where sequence = %(sequence)s
returning failed_at is not null as given_up;

-- name: messages_to_fan_out
-- Messages of these models for which nobody has made deliveries; another relay is waited for, so that they are made in order.
select sequence, type, model
  from driftline.outbox
 where fanned_out_at is null and model = any (%(models)s)
 order by sequence
 limit %(messages_max)s
   for update;

-- name: add_deliveries
-- One for each message and each webhook that wants it.
insert into driftline.delivery (event_id, webhook, sequence, episode_id, created_at)
select m.event_id, wanted.webhook, m.sequence, m.episode_id, m.created_at
  from unnest(%(sequence)s::bigint[], %(webhook)s::text[]) wanted (sequence, webhook)
  join driftline.outbox m using (sequence)
on conflict do nothing;

-- name: mark_fanned_out
-- Their deliveries are made.
update driftline.outbox set fanned_out_at = now() where sequence = any (%(sequences)s);

-- name: drop_pointless_deliveries
-- An episode that was snoozed, and closed by the time that ended, is told to nobody who has not heard of it.
update driftline.delivery d
   set dropped_at = now(), last_error = 'its episode was snoozed, and closed by then'
  from driftline.episode e
  join driftline.model m using (model_id)
 where d.webhook = %(webhook)s and d.delivered_at is null and d.failed_at is null and d.dropped_at is null
   and e.episode_id = d.episode_id and m.name = any (%(models)s)
   and e.closed_at is not null and e.snoozed_until > d.created_at and e.snoozed_until <= now()
   and not exists (select from driftline.delivery told
                    where told.webhook = d.webhook and told.episode_id = d.episode_id and told.delivered_at is not null);

-- name: claim_delivery
-- Takes the oldest delivery that may be made now, in order for each episode, for as long as an attempt may last.
update driftline.delivery d
   set attempts = d.attempts + 1, next_attempt_at = now() + make_interval(secs => %(lease_ms)s / 1000.0)
  from driftline.outbox m
 where m.event_id = d.event_id
   and (d.event_id, d.webhook) =
       (select due.event_id, due.webhook
          from driftline.delivery due
          join driftline.outbox own on own.event_id = due.event_id and own.model = any (%(models)s)
          left join driftline.episode e on e.episode_id = due.episode_id
         where due.webhook = %(webhook)s and due.next_attempt_at <= now()
           and due.delivered_at is null and due.failed_at is null and due.dropped_at is null
           and (e.snoozed_until is null or e.snoozed_until <= now())
           and (e.closed_at is null or e.snoozed_until is null or e.snoozed_until <= due.created_at
                or exists (select from driftline.delivery told
                            where told.webhook = due.webhook and told.episode_id = due.episode_id
                              and told.delivered_at is not null))
           and (due.episode_id is null
                or due.sequence = (select oldest.sequence
                                     from driftline.delivery oldest
                                    where oldest.webhook = due.webhook and oldest.episode_id = due.episode_id
                                      and oldest.delivered_at is null and oldest.failed_at is null
                                      and oldest.dropped_at is null
                                    order by oldest.sequence
                                    limit 1))
         order by due.sequence
         limit 1
           for update of due skip locked)
returning d.event_id, d.attempts, m.type, m.payload::text as payload;

-- name: mark_delivered
-- The receiver has it, whoever brought it.
update driftline.delivery
   set delivered_at = now(), failed_at = null, last_error = null
 where event_id = %(event_id)s and webhook = %(webhook)s and delivered_at is null;

-- name: postpone_delivery
-- It could not be delivered: tried again later, or given up if the receiver wants none or it is too old.
update driftline.delivery d
   set last_error = %(last_error)s,
       next_attempt_at = now() + make_interval(secs => %(wait_ms)s / 1000.0),
       failed_at = case when %(unwanted)s
                          or greatest(d.created_at, (select e.snoozed_until
                                                       from driftline.episode e
                                                      where e.episode_id = d.episode_id))
                             <= now() - make_interval(secs => %(age_max_ms)s / 1000.0)
                        then now() end
 where d.event_id = %(event_id)s and d.webhook = %(webhook)s and d.attempts = %(attempts)s and d.delivered_at is null
returning d.failed_at is not null as given_up;

-- name: give_up_deliveries_of_nobody
-- Deliveries of these models to webhooks that their configuration names no more do not wait for ever.
update driftline.delivery d
   set failed_at = now(), last_error = 'there is no such webhook in the configuration any more'
  from driftline.outbox m
 where d.delivered_at is null and d.failed_at is null and d.dropped_at is null
   and d.webhook <> all (%(webhooks)s)
   and d.created_at <= now() - make_interval(secs => %(age_max_ms)s / 1000.0)
   and m.event_id = d.event_id and m.model = any (%(models)s);

-- name: state_of_messages
-- By destination: what waits and since when, and what was given up in the last day.
select channel, destination,
       count(*) filter (where state = 'waiting' and attempts > 0) as n_tried,
       count(*) filter (where state = 'waiting') as n_waiting,
       coalesce((extract(epoch from now() - min(created_at) filter (where state = 'waiting' and snoozed is not true)) * 1000)::bigint, 0)
           as oldest_ms,
       count(*) filter (where state = 'failed' and failed_at > now() - interval '1 day') as n_failed,
       max(last_error) filter (where state in ('waiting', 'failed')) as last_error
  from (select v.*, e.snoozed_until > now() and v.channel = 'webhook' as snoozed
          from driftline.v_deliveries v
          left join driftline.episode e using (episode_id)
         where v.state = 'waiting' or v.failed_at > now() - interval '1 day') found
 group by channel, destination
 order by channel, destination;
