-- name: lock_panes_shared
-- Taken by writers of a model's panes: many at a time.
select pg_advisory_xact_lock_shared(2, bucket) from unnest(%(buckets)s::integer[]) bucket;

-- name: lock_panes_alone
-- Taken to close or restate windows: waits for the writers, and holds new ones back.
select pg_advisory_xact_lock(2, %(bucket)s);

-- name: try_lock_evaluation
-- One evaluator a model at a time; a second one has nothing to do.
select pg_try_advisory_xact_lock(5, %(model_id)s) as taken;

-- name: add_panes
-- Pane deltas of one batch, of all its models at once.
insert into driftline.pane (model_id, version, segment, pane_start, late, profile_id, n, vector)
select i.model_id, i.version, i.segment, i.pane_start, i.late, i.profile_id, i.n, i.vector
  from unnest(%(model_id)s::smallint[], %(version)s::smallint[], %(segment)s::smallint[], %(pane_start)s::timestamptz[],
              %(late)s::boolean[], %(profile_id)s::integer[], %(n)s::bigint[], %(vector)s::bytea[])
       i (model_id, version, segment, pane_start, late, profile_id, n, vector);

-- name: add_outcomes
-- Outcome deltas of one batch.
insert into driftline.outcome (model_id, version, segment, cohort_start, arrival_start, late, profile_id, n, vector)
select %(model_id)s, i.version, i.segment, i.cohort_start, i.arrival_start, i.late, i.profile_id, i.n, i.vector
  from unnest(%(version)s::smallint[], %(segment)s::smallint[], %(cohort_start)s::timestamptz[],
              %(arrival_start)s::timestamptz[], %(late)s::boolean[], %(profile_id)s::integer[], %(n)s::bigint[],
              %(vector)s::bytea[])
       i (version, segment, cohort_start, arrival_start, late, profile_id, n, vector);

-- name: add_extras
-- What came beside what counts in one batch of a model.
insert into driftline.extra (model_id, pane_start, feature, n)
select %(model_id)s, i.* from unnest(%(pane_start)s::timestamptz[], %(feature)s::text[], %(n)s::bigint[]) i (pane_start, feature, n);

-- name: take_extras
-- Hands over what came beside what counts until a time.
delete from driftline.extra where model_id = %(model_id)s and pane_start < %(to)s returning pane_start, feature, n;

-- name: evaluation_progress
-- How far a model's windows were closed, to see without any lock whether there is something to do.
select closed_through, restated_at, now() as now from driftline.evaluation where model_id = %(model_id)s;

-- name: evaluations_due
-- Of which models something can be closed, or came to what is closed and may be restated; without any lock.
select m.model_id
  from unnest(%(model_ids)s::smallint[], %(closable)s::timestamptz[], %(restate_after_ms)s::bigint[])
       m (model_id, closable, restate_after_ms)
  left join driftline.evaluation e using (model_id)
 where case when e.closed_through is null
            then exists (select from driftline.pane p where p.model_id = m.model_id and p.pane_start < m.closable)
              or exists (select from driftline.outcome o where o.model_id = m.model_id and o.arrival_start < m.closable)
            else e.closed_through < m.closable
              or (e.restated_at <= now() - make_interval(secs => m.restate_after_ms / 1000.0)
                  and (exists (select from driftline.pane p
                                where p.model_id = m.model_id and p.pane_start < e.closed_through)
                    or exists (select from driftline.outcome o
                                where o.model_id = m.model_id and o.arrival_start < e.closed_through)
                    or exists (select from driftline.outcome o
                                where o.model_id = m.model_id and o.cohort_start < e.closed_through
                                  and o.outcome_delta_id > e.seen_outcome_delta_id)))
       end;

-- name: evaluation_state
-- How far a model's windows are closed.
insert into driftline.evaluation (model_id) values (%(model_id)s)
on conflict (model_id) do update set model_id = excluded.model_id
returning closed_through, seen_outcome_delta_id, restated_at, now() as now;

-- name: save_evaluation_state
-- How far a model's windows are closed now.
update driftline.evaluation
   set closed_through = %(closed_through)s, seen_outcome_delta_id = %(seen_outcome_delta_id)s, restated_at = %(restated_at)s
 where model_id = %(model_id)s;

-- name: earliest_delta
-- Start of the first pane at or after a time that holds anything not folded yet.
select least((select min(pane_start) from driftline.pane where model_id = %(model_id)s and pane_start >= %(from)s),
             (select min(arrival_start) from driftline.outcome where model_id = %(model_id)s and arrival_start >= %(from)s))
       as earliest;

-- name: latest_rollup
-- Start of the last rollup before a time.
select max(of_kind.latest) as latest
  from unnest(array['features', 'cohort', 'arrival']) kind
 cross join lateral (select max(r.grain_start) as latest from driftline.rollup r
                      where r.model_id = %(model_id)s and r.kind = kind.kind and r.grain_start < %(before)s) of_kind;

-- name: begin_evaluation
-- Plans that go through the indexes: what waits grows too quickly for the planner to know, and is deleted as it is read.
select set_config('enable_seqscan', 'off', true) as sequential, set_config('enable_bitmapscan', 'off', true) as bitmap;

-- name: take_panes
-- Hands over the pane deltas of a stretch of event time; they are folded into rollups in the same transaction.
delete from driftline.pane
 where model_id = %(model_id)s and pane_start >= %(from)s and pane_start < %(to)s
returning version, segment, pane_start, late, profile_id, n, vector;

-- name: take_outcomes
-- Hands over the outcome deltas that arrived in a stretch of event time.
delete from driftline.outcome
 where model_id = %(model_id)s and arrival_start >= %(from)s and arrival_start < %(to)s
returning version, segment, cohort_start, arrival_start, late, profile_id, n, vector;

-- name: take_crowded_panes
-- Hands over pane deltas of which there are several of one pane, version and segment, to be put back as one.
delete from driftline.pane
 where ctid = any (array(
       select crowded.ctid
         from (select ctid, count(*) over (partition by pane_start, version, segment, late, profile_id) as n
                 from driftline.pane
                where model_id = %(model_id)s and pane_start >= %(from)s and pane_start < %(to)s) crowded
        where n > 1
        limit %(rows_max)s))
returning version, segment, pane_start, late, profile_id, n, vector;

-- name: take_crowded_outcomes
-- Hands over outcome deltas of which there are several of one cohort, arrival, version and segment.
delete from driftline.outcome
 where ctid = any (array(
       select crowded.ctid
         from (select ctid, count(*) over (partition by arrival_start, cohort_start, version, segment, late, profile_id) as n
                 from driftline.outcome
                where model_id = %(model_id)s and arrival_start >= %(from)s and arrival_start < %(to)s) crowded
        where n > 1
        limit %(rows_max)s))
returning version, segment, cohort_start, arrival_start, late, profile_id, n, vector;

-- name: waiting_outcomes
-- Outcomes of some cohorts whose arrival windows are still open.
select version, segment, cohort_start, profile_id, n, vector
  from driftline.outcome
 where model_id = %(model_id)s and cohort_start = any (%(cohort_starts)s);

-- name: cohorts_with_new_outcomes
-- Slides of closed windows for which labels came in since they were last looked at.
select distinct cohort_start from driftline.outcome
 where model_id = %(model_id)s and outcome_delta_id > %(seen)s and cohort_start < %(before)s;

-- name: newest_outcome
-- The last outcome delta there is.
select coalesce(max(outcome_delta_id), %(seen)s) as seen from driftline.outcome where model_id = %(model_id)s;

-- name: rollups
-- Rollups of a stretch of event time.
select kind, grain_start, version, segment, profile_id, n, vector
  from driftline.rollup
 where model_id = %(model_id)s and kind = any (%(kinds)s) and grain_start >= %(from)s and grain_start < %(to)s;

-- name: count_predictions
-- How many predictions a stretch of event time holds, without the weight of what is known of them.
select version, segment, sum(n)::bigint as n
  from driftline.rollup
 where model_id = %(model_id)s and kind = 'features' and grain_start >= %(from)s and grain_start < %(to)s
 group by 1, 2;

-- name: save_rollups
-- Puts rollups in the place of the ones they were folded from.
insert into driftline.rollup (model_id, kind, grain_start, version, segment, profile_id, n, vector)
select %(model_id)s, i.*
  from unnest(%(kind)s::text[], %(grain_start)s::timestamptz[], %(version)s::smallint[], %(segment)s::smallint[],
              %(profile_id)s::integer[], %(n)s::bigint[], %(vector)s::bytea[])
       i (kind, grain_start, version, segment, profile_id, n, vector)
on conflict (model_id, kind, grain_start, version, segment, profile_id)
do update set n = excluded.n, vector = excluded.vector;

-- name: detector_states
-- The sequential detectors of a model.
select version, segment, profile_id, spec, seen_through, judged_through, content from driftline.detector_state where model_id = %(model_id)s;

-- name: save_detector_states
-- The sequential detectors of a model as they are after a window.
insert into driftline.detector_state (model_id, version, segment, profile_id, spec, judged_through, content, seen_through)
select %(model_id)s, i.*, %(seen_through)s
  from unnest(%(version)s::smallint[], %(segment)s::smallint[], %(profile_id)s::integer[], %(spec)s::text[],
              %(judged_through)s::timestamptz[], %(content)s::bytea[])
       i (version, segment, profile_id, spec, judged_through, content)
on conflict (model_id, version, segment)
do update set profile_id = excluded.profile_id, spec = excluded.spec, judged_through = excluded.judged_through,
              content = excluded.content, seen_through = excluded.seen_through;

-- name: swings
-- How much the features of a model swing, as far as is known.
select version, segment, profile_id, content from driftline.swing where model_id = %(model_id)s;

-- name: save_swings
-- How much the features of a model swing, as is known after a window.
insert into driftline.swing (model_id, version, segment, profile_id, content, seen_through)
select %(model_id)s, i.version, i.segment, i.profile_id, i.content, %(seen_through)s
  from unnest(%(version)s::smallint[], %(segment)s::smallint[], %(profile_id)s::integer[], %(content)s::bytea[])
       i (version, segment, profile_id, content)
on conflict (model_id, version, segment)
do update set profile_id = excluded.profile_id, content = excluded.content, seen_through = excluded.seen_through;

-- name: save_verdicts
-- Writes verdicts; one that changes an earlier verdict of the same window raises its revision.
insert into driftline.verdict (model_id, window_end, version, segment, feature, detector, window_start, score, threshold,
                               p_value, n_reference, n_current, level, profile_id, counts, changed_at, reason)
select %(model_id)s, %(window_end)s, i.version, i.segment, i.feature, i.detector, i.window_start, i.score, i.threshold,
       nullif(i.p_value, 'NaN'), i.n_reference, i.n_current, i.level, i.profile_id,
       case when i.n_bins > 0 then (%(counts)s::bigint[])[i.last_bin - i.n_bins + 1 : i.last_bin] end,
       case when i.changed_at > '1900-01-01' then i.changed_at end, nullif(i.reason, '')
  from unnest(%(version)s::smallint[], %(segment)s::smallint[], %(feature)s::text[], %(detector)s::text[],
              %(window_start)s::timestamptz[], %(score)s::float8[], %(threshold)s::float8[], %(p_value)s::float8[],
              %(n_reference)s::bigint[], %(n_current)s::bigint[], %(level)s::text[], %(profile_id)s::integer[],
              %(n_bins)s::integer[], %(last_bin)s::integer[], %(changed_at)s::timestamptz[], %(reason)s::text[])
       i (version, segment, feature, detector, window_start, score, threshold, p_value, n_reference, n_current, level,
          profile_id, n_bins, last_bin, changed_at, reason)
on conflict (model_id, window_end, version, segment, feature, detector)
do update set window_start = excluded.window_start, score = excluded.score, threshold = excluded.threshold,
              p_value = excluded.p_value, n_reference = excluded.n_reference, n_current = excluded.n_current,
              level = excluded.level, profile_id = excluded.profile_id, counts = excluded.counts, reason = excluded.reason,
              revision = verdict.revision + 1
 where (verdict.window_start, verdict.score, verdict.threshold, verdict.p_value, verdict.n_reference, verdict.n_current,
        verdict.level, verdict.profile_id, verdict.counts, verdict.reason)
       is distinct from
       (excluded.window_start, excluded.score, excluded.threshold, excluded.p_value, excluded.n_reference,
        excluded.n_current, excluded.level, excluded.profile_id, excluded.counts, excluded.reason);

-- name: verdict_spans
-- Over which stretch each drift verdict of a window was made, so that a restatement covers the same.
select distinct version, segment, window_start, profile_id
  from driftline.verdict
 where model_id = %(model_id)s and segment = any (%(segments)s) and window_end = %(window_end)s and counts is not null;

-- name: judged_stretches
-- Over which stretches closed windows were judged that may reach back over a time.
select distinct window_start, window_end
  from driftline.verdict
 where model_id = %(model_id)s and segment = any (%(segments)s) and counts is not null
   and window_end > %(from)s and window_end <= %(to)s;

-- name: save_performance
-- Writes metrics; one that changes an earlier row of the same window raises its revision.
insert into driftline.performance (model_id, window_end, window_start, version, segment, basis, metric, value, low, high,
                                   n_predictions, n_labelled, coverage, reason, corrected, corrected_low, corrected_high,
                                   n_effective, expected_coverage, mature_at)
select %(model_id)s, i.window_end, i.window_start, i.version, i.segment, i.basis, i.metric,
       nullif(i.value, 'NaN'), nullif(i.low, 'NaN'), nullif(i.high, 'NaN'), i.n_predictions, i.n_labelled,
       nullif(i.coverage, 'NaN'), nullif(i.reason, ''), nullif(i.corrected, 'NaN'), nullif(i.corrected_low, 'NaN'),
       nullif(i.corrected_high, 'NaN'), nullif(i.n_effective, -1), nullif(i.expected_coverage, 'NaN'),
       case when i.mature_at > '1900-01-01' then i.mature_at end
  from unnest(%(window_end)s::timestamptz[], %(window_start)s::timestamptz[], %(version)s::smallint[],
              %(segment)s::smallint[], %(basis)s::text[], %(metric)s::text[], %(value)s::float8[], %(low)s::float8[],
              %(high)s::float8[], %(n_predictions)s::bigint[], %(n_labelled)s::bigint[], %(coverage)s::float8[],
              %(reason)s::text[], %(corrected)s::float8[], %(corrected_low)s::float8[], %(corrected_high)s::float8[],
              %(n_effective)s::bigint[], %(expected_coverage)s::float8[], %(mature_at)s::timestamptz[])
       i (window_end, window_start, version, segment, basis, metric, value, low, high, n_predictions, n_labelled, coverage,
          reason, corrected, corrected_low, corrected_high, n_effective, expected_coverage, mature_at)
on conflict (model_id, window_end, version, segment, basis, metric)
do update set window_start = excluded.window_start, value = excluded.value, low = excluded.low, high = excluded.high,
              n_predictions = excluded.n_predictions, n_labelled = excluded.n_labelled, coverage = excluded.coverage,
              reason = excluded.reason, corrected = excluded.corrected, corrected_low = excluded.corrected_low,
              corrected_high = excluded.corrected_high, n_effective = excluded.n_effective,
              expected_coverage = excluded.expected_coverage, mature_at = excluded.mature_at,
              revision = performance.revision + 1
 where (performance.window_start, performance.value, performance.low, performance.high, performance.n_predictions,
        performance.n_labelled, performance.coverage, performance.reason, performance.corrected,
        performance.corrected_low, performance.corrected_high, performance.n_effective,
        performance.expected_coverage, performance.mature_at)
       is distinct from
       (excluded.window_start, excluded.value, excluded.low, excluded.high, excluded.n_predictions, excluded.n_labelled,
        excluded.coverage, excluded.reason, excluded.corrected, excluded.corrected_low, excluded.corrected_high,
        excluded.n_effective, excluded.expected_coverage, excluded.mature_at);

-- name: label_delays
-- How late the labels of a model's versions were, by block of cohorts.
select version, block_start, watched_since, spec, n_classes, content from driftline.label_delay
 where model_id = %(model_id)s order by version, block_start;

-- name: save_label_delays
-- Puts blocks in the place of what they were counted on from.
insert into driftline.label_delay (model_id, version, block_start, watched_since, spec, n_classes, content)
select %(model_id)s, i.*
  from unnest(%(version)s::smallint[], %(block_start)s::timestamptz[], %(watched_since)s::timestamptz[], %(spec)s::text[],
              %(n_classes)s::smallint[], %(content)s::bytea[])
       i (version, block_start, watched_since, spec, n_classes, content)
on conflict (model_id, version, block_start)
do update set watched_since = excluded.watched_since, spec = excluded.spec, n_classes = excluded.n_classes,
              content = excluded.content;

-- name: drop_label_delays
-- Forgets blocks of cohorts that are older than two horizons.
delete from driftline.label_delay d
 using unnest(%(version)s::smallint[], %(block_start)s::timestamptz[]) i (version, block_start)
 where d.model_id = %(model_id)s and d.version = i.version and d.block_start = i.block_start;

-- name: drop_performance
-- Takes back the metrics of a window in which corrections left nothing to measure.
delete from driftline.performance p
 using unnest(%(version)s::smallint[], %(segment)s::smallint[]) i (version, segment)
 where p.model_id = %(model_id)s and p.window_end = %(window_end)s and p.basis = %(basis)s
   and p.version = i.version and p.segment = i.segment;

-- name: add_warm_up
-- Keeps events of a model whose reference is still being collected.
insert into driftline.warm_up (model_id, version, first_event, n, content)
values (%(model_id)s, %(version)s, %(first_event)s, %(n)s, %(content)s);

-- name: warm_up_events
-- What was kept while the reference was being collected.
select content from driftline.warm_up where model_id = %(model_id)s and version = %(version)s order by warm_up_id;

-- name: warm_up_sizes
-- Models that still collect their reference, and how many events they have.
select model_id, version, sum(n)::bigint as n from driftline.warm_up where model_id = any (%(model_ids)s) group by 1, 2;

-- name: end_warm_up
-- The reference is complete; its events are in the profile and in panes now.
delete from driftline.warm_up where model_id = %(model_id)s and version = %(version)s;

-- name: drop_old_rollups
-- Forgets rollups that no window and no label can reach any more.
delete from driftline.rollup
 where model_id = %(model_id)s and kind = any (array['features', 'cohort', 'arrival']) and grain_start < %(before)s;

-- name: traffic
-- How many events a model had, as far as is known.
select content, extras from driftline.traffic where model_id = %(model_id)s;

-- name: save_traffic
-- How many events a model had, as is known after a slide.
insert into driftline.traffic (model_id, content, extras) values (%(model_id)s, %(content)s, %(extras)s)
on conflict (model_id) do update set content = excluded.content, extras = excluded.extras;
