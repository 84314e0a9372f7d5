-- name: known_model
-- A model that workers have registered.
select model_id, horizons_s from driftline.model where name = %(name)s;

-- name: references_of_model
-- Which profile a model's versions are compared with, and over which one it was accepted, if it was.
select f.version, f.profile_id, coalesce(f.accepted_over, f.profile_id) as accepted_over
  from driftline.profile_in_force f
 where f.model_id = %(model_id)s;

-- name: stored_stretch
-- From when to when there are rollups of a model.
select min(grain_start) as earliest, max(grain_start) as latest
  from driftline.rollup
 where model_id = %(model_id)s and kind = 'features';

-- name: counted_in_stretch
-- What a stretch of event time holds of some versions: how much of each segment, under which profile.
select segment, grain_start, profile_id, sum(n)::bigint as n
  from driftline.rollup
 where model_id = %(model_id)s and kind = 'features' and version = any (%(versions)s)
   and grain_start >= %(from)s and grain_start < %(to)s
 group by segment, grain_start, profile_id;

-- name: feature_vectors
-- Summaries of one segment in a stretch of event time, and under which profile they were made.
select profile_id, vector
  from driftline.rollup
 where model_id = %(model_id)s and kind = 'features' and version = any (%(versions)s) and segment = %(segment)s
   and grain_start >= %(from)s and grain_start < %(to)s;

-- name: outcome_vectors
-- What came of the predictions of a stretch of event time, also where the label came in what is still open.
select profile_id, vector
  from driftline.rollup
 where model_id = %(model_id)s and kind = 'cohort' and version = any (%(versions)s) and segment = -1
   and grain_start >= %(from)s and grain_start < %(to)s
 union all
select profile_id, vector
  from driftline.outcome
 where model_id = %(model_id)s and version = any (%(versions)s) and segment = -1
   and cohort_start >= %(from)s and cohort_start < %(to)s;

-- name: accept_profile
-- What was put in force was accepted by hand: files that say what they said before do not replace it.
update driftline.profile_in_force
   set profile_id = %(profile_id)s, accepted_over = %(accepted_over)s, since = now()
 where model_id = %(model_id)s and version = %(version)s;

-- name: move_panes
-- Deltas that wait are compared with another profile, which bins alike.
update driftline.pane
   set profile_id = %(profile_id)s
 where model_id = %(model_id)s and version = any (%(versions)s) and profile_id = %(old_profile_id)s;

-- name: move_outcomes
-- Outcomes that wait, the same.
update driftline.outcome
   set profile_id = %(profile_id)s
 where model_id = %(model_id)s and version = any (%(versions)s) and profile_id = %(old_profile_id)s;

-- name: move_rollups
-- Rollups that windows still to be closed may reach, the same.
update driftline.rollup
   set profile_id = %(profile_id)s
 where model_id = %(model_id)s and kind = 'features' and version = any (%(versions)s)
   and profile_id = %(old_profile_id)s and grain_start >= %(from)s;

-- name: release_versions
-- Versions go back to the reference of all, unless the configuration or a hand gave them one of their own.
delete from driftline.profile_in_force f
 where f.model_id = %(model_id)s and f.version <> '*' and f.version <> all (%(configured)s)
   and f.accepted_over is distinct from (select coalesce(a.accepted_over, a.profile_id)
                                           from driftline.profile_in_force a
                                          where a.model_id = f.model_id and a.version = '*');
