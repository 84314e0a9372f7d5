-- name: register_model
-- Makes a model known, with its settings for views and every label horizon it ever had; again, it uses up no id.
with known as (
    update driftline.model
       set settings = %(settings)s,
           horizons_s = case when %(horizon_s)s = any (horizons_s) then horizons_s
                             else horizons_s || %(horizon_s)s::integer end
     where name = %(name)s
    returning model_id, horizons_s
), added as (
    insert into driftline.model (name, horizons_s, settings)
    select %(name)s, array[%(horizon_s)s::integer], %(settings)s where not exists (select from known)
    on conflict (name) do update
       set settings = excluded.settings,
           horizons_s = case when %(horizon_s)s = any (model.horizons_s) then model.horizons_s
                             else model.horizons_s || %(horizon_s)s::integer end
    returning model_id, horizons_s
)
select model_id, horizons_s from known union all select model_id, horizons_s from added;

-- name: names_of_model
-- All codes of one model.
select kind, name, code from driftline.name where model_id = %(model_id)s;

-- name: name_counts
-- How many codes each model has given.
select model_id, count(*)::integer as n from driftline.name where model_id = any (%(model_ids)s) group by model_id;

-- name: admit_names
-- Codes for names; those beyond the bound are not returned.
select name, code from driftline.admit_names(%(model_id)s::smallint, %(kind)s, %(names)s, %(names_max)s);

-- name: add_profile
-- Keeps a reference profile; one that is there already stays as it is.
insert into driftline.profile (digest, content)
values (%(digest)s, %(content)s)
on conflict (digest) do update set digest = excluded.digest
returning profile_id;

-- name: add_profile_bins
-- The bins of a profile, for views.
insert into driftline.profile_bin (profile_id, feature, bin, label)
select %(profile_id)s, * from unnest(%(feature)s::text[], %(bin)s::integer[], %(label)s::text[])
on conflict do nothing;

-- name: add_profile_counts
-- What a profile counted in its bins, of all traffic and of each segment, for views.
insert into driftline.profile_count (profile_id, segment, feature, counts)
select %(profile_id)s, i.segment, i.feature, i.counts::bigint[]
  from unnest(%(segment)s::text[], %(feature)s::text[], %(counts)s::text[]) i (segment, feature, counts)
on conflict do nothing;

-- name: put_profile_in_force
-- From now on this profile is what "no drift" means for a version (or * for all others), unless it meant that already
-- when a person accepted another one.
insert into driftline.profile_in_force (model_id, version, profile_id)
values (%(model_id)s, %(version)s, %(profile_id)s)
on conflict (model_id, version) do update set profile_id = excluded.profile_id, accepted_over = null, since = now()
 where profile_in_force.profile_id <> excluded.profile_id
   and profile_in_force.accepted_over is distinct from excluded.profile_id;

-- name: profiles_in_force
-- Which profile is in force for each version of the given models.
select model_id, version, profile_id from driftline.profile_in_force where model_id = any (%(model_ids)s);

-- name: profile_content
-- One profile, whole.
select digest, content::text from driftline.profile where profile_id = %(profile_id)s;

-- name: id_key
-- The secret with which prediction ids are digested, unless the configuration gives one.
select id_key from driftline.installation;

-- name: ensure_partitions
-- Creates the missing time partitions that cover a stretch of event time.
select driftline.ensure_partitions(%(parent)s, %(horizon_s)s::integer, %(first)s, %(last)s);

-- name: drop_partitions
-- Drops time partitions that lie wholly before a time.
select driftline.drop_partitions(%(parent)s, %(horizon_s)s::integer, %(before)s);
