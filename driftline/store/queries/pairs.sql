-- Keys are looked up through the key index: in one scan for all of them, and who asked puts rows and keys together, which
-- is cheaper than to begin anew for each. A subquery gives the keys, else the planner estimates how often each of them is
-- there, which takes as long as finding it. Keys of a time each are looked up one by one, each in its own partition:
-- `cross join lateral (... offset 0)` keeps the planner from turning the join around, which it does with tables it has no
-- statistics of, and which then takes minutes.

-- name: lock_join_shared
-- Taken by transactions that bring predictions: many at a time, none beside one that brings labels.
select pg_advisory_xact_lock_shared(1, bucket) from unnest(%(buckets)s::integer[]) bucket;

-- name: lock_join_alone
-- Taken by transactions that bring labels or served features.
select pg_advisory_xact_lock(1, bucket) from unnest(%(buckets)s::integer[]) bucket;

-- name: predictions_known
-- Predictions that are here for these keys, of about the time of a batch: where, when and what they are of.
select coalesce(array_agg(key), '{}') as key, coalesce(array_agg(version), '{}') as version,
       coalesce(array_agg(variant), '{}') as variant, coalesce(array_agg(event_time), '{}') as event_time
  from driftline.prediction
 where horizon_s = any (%(horizons_s)s) and key = any ((select %(key)s::uuid[])::uuid[])
   and event_time between %(earliest)s::timestamptz and %(latest)s::timestamptz;

-- name: add_predictions
-- Keeps predictions until their labels come.
insert into driftline.prediction
       (horizon_s, model_id, key, version, variant, event_time, prediction, score, segments, has_features, late)
select %(horizon_s)s, %(model_id)s, *
  from unnest(%(key)s::uuid[], %(version)s::smallint[], %(variant)s::smallint[], %(event_time)s::timestamptz[],
              %(prediction)s::float8[], %(score)s::float8[], %(segments)s::bytea[], %(has_features)s::boolean[],
              %(late)s::boolean[]);

-- name: labels_of_keys
-- Labels that are here for these keys, with the time of their prediction if they tell it.
select coalesce(array_agg(key), '{}') as key, coalesce(array_agg(event_time), '{}') as event_time,
       coalesce(array_agg(label), '{}') as label, coalesce(array_agg(reward), '{}') as reward,
       coalesce(array_agg(late), '{}') as late,
       coalesce(array_agg(coalesce(prediction_time, '-infinity')), '{}') as prediction_time
  from driftline.label
 where horizon_s = any (%(horizons_s)s) and key = any ((select %(key)s::uuid[])::uuid[]);

-- name: add_labels
-- Keeps labels for predictions that are still to come, and to notice repeats and corrections; none that is here already.
insert into driftline.label (horizon_s, model_id, key, event_time, label, reward, late, prediction_time)
select %(horizon_s)s, %(model_id)s, i.key, i.event_time, i.label, i.reward, i.late, nullif(i.prediction_time, '-infinity')
  from unnest(%(key)s::uuid[], %(event_time)s::timestamptz[], %(label)s::float8[], %(reward)s::float8[],
              %(late)s::boolean[], %(prediction_time)s::timestamptz[])
       i (key, event_time, label, reward, late, prediction_time);

-- name: predictions_of_keys
-- Predictions that are here for these keys, whatever their version, variant and time.
select coalesce(array_agg(key), '{}') as key, coalesce(array_agg(version), '{}') as version,
       coalesce(array_agg(event_time), '{}') as event_time, coalesce(array_agg(prediction), '{}') as prediction,
       coalesce(array_agg(score), '{}') as score, coalesce(array_agg(late), '{}') as late,
       coalesce(string_agg(segments, ''::bytea), ''::bytea) as segments
  from driftline.prediction
 where horizon_s = any (%(horizons_s)s) and key = any ((select %(key)s::uuid[])::uuid[]);

-- name: predictions_near
-- Predictions that are here for these keys, whatever their version and variant, of a time from the earliest to the latest
-- of each: only one or two time partitions are looked into.
select coalesce(array_agg(i.row), '{}') as row, coalesce(array_agg(p.version), '{}') as version,
       coalesce(array_agg(p.event_time), '{}') as event_time, coalesce(array_agg(p.prediction), '{}') as prediction,
       coalesce(array_agg(p.score), '{}') as score, coalesce(array_agg(p.late), '{}') as late,
       coalesce(string_agg(p.segments, ''::bytea), ''::bytea) as segments
  from unnest(%(row)s::integer[], %(key)s::uuid[], %(earliest)s::timestamptz[], %(latest)s::timestamptz[])
       i (row, key, earliest, latest)
  cross join lateral (
       select version, event_time, prediction, score, late, segments from driftline.prediction
        where horizon_s = any (%(horizons_s)s) and key = i.key and event_time between i.earliest and i.latest
       offset 0) p;

-- name: labelled_predictions
-- Every prediction of some versions that has a label, for the moment their reference is complete.
select coalesce(array_agg(p.key), '{}') as key, coalesce(array_agg(p.version), '{}') as version,
       coalesce(array_agg(p.variant), '{}') as variant, coalesce(array_agg(p.event_time), '{}') as event_time,
       coalesce(array_agg(p.prediction), '{}') as prediction, coalesce(array_agg(p.score), '{}') as score,
       coalesce(array_agg(p.has_features), '{}') as has_features, coalesce(array_agg(p.late), '{}') as late,
       coalesce(string_agg(p.segments, ''::bytea), ''::bytea) as segments
  from driftline.prediction p
 where p.model_id = %(model_id)s and p.horizon_s = any (%(horizons_s)s) and p.version = any (%(versions)s)
   and exists (select from driftline.label l where l.horizon_s = any (%(horizons_s)s) and l.key = p.key);

-- name: keys_with_features
-- Which of these keys had their features counted already, from a prediction or from a feature event.
select coalesce(array_agg(distinct key), '{}') as key
  from (select key from driftline.prediction
         where horizon_s = any (%(horizons_s)s) and key = any ((select %(key)s::uuid[])::uuid[]) and has_features
         union all
        select key from driftline.served_features
         where horizon_s = any (%(horizons_s)s) and key = any ((select %(key)s::uuid[])::uuid[])) counted;

-- name: keys_with_served_features
-- Which of these keys had their features counted from a feature event.
select coalesce(array_agg(key), '{}') as key
  from driftline.served_features
 where horizon_s = any (%(horizons_s)s) and key = any ((select %(key)s::uuid[])::uuid[]);

-- name: add_served_features
-- Remembers which ids had their features counted from a feature event.
insert into driftline.served_features (horizon_s, model_id, key, event_time)
select %(horizon_s)s, %(model_id)s, * from unnest(%(key)s::uuid[], %(event_time)s::timestamptz[]);
