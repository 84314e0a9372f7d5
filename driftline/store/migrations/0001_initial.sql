-- The whole store: what workers write, what the evaluator derives, and the views that people and dashboards read.
--
-- Times are timestamptz; counts are bigint; `vector` columns are little-endian 64-bit integers, laid out by the
-- reference profile (see docs/contracts.md). Names of versions, variants, segments and classes are small codes,
-- numbered per model, so that the wide tables stay narrow.

create table driftline.installation (
    only_row boolean primary key default true check (only_row),
    id_key bytea not null default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    created_at timestamptz not null default now()
);
insert into driftline.installation default values;

create table driftline.model (
    model_id smallint generated always as identity primary key,
    name text not null unique,
    horizons_s integer[] not null default '{}',
    settings jsonb not null
);

create table driftline.name (
    model_id smallint not null references driftline.model,
    kind text not null,
    code smallint not null,
    name text not null,
    primary key (model_id, kind, code),
    unique (model_id, kind, name)
);

create function driftline.admit_names(model_id smallint, kind text, names text[], names_max integer)
    returns table (name text, code smallint)
    language plpgsql as $$
-- Gives each name a code, as long as there are fewer than names_max; a name beyond that is not returned.
begin
    perform pg_advisory_xact_lock(4, admit_names.model_id);
    insert into driftline.name (model_id, kind, code, name)
    select admit_names.model_id, admit_names.kind, known.n + new.place - 1, new.name
      from (select t.name, row_number() over (order by min(t.place)) as place
              from unnest(names) with ordinality t (name, place)
             where not exists (select from driftline.name o
                                where o.model_id = admit_names.model_id and o.kind = admit_names.kind and o.name = t.name)
             group by t.name) new,
           (select count(*) as n from driftline.name o
             where o.model_id = admit_names.model_id and o.kind = admit_names.kind) known
     where known.n + new.place <= names_max;
    return query
        select o.name, o.code from driftline.name o
         where o.model_id = admit_names.model_id and o.kind = admit_names.kind and o.name = any (names);
end $$;

-- Reference profiles. A profile never changes; which one is in force does.

create table driftline.profile (
    profile_id integer generated always as identity primary key,
    digest text not null unique,
    content jsonb not null,
    created_at timestamptz not null default now()
);

create table driftline.profile_bin (
    profile_id integer not null references driftline.profile,
    feature text not null,
    bin integer not null,
    label text not null,
    primary key (profile_id, feature, bin)
);

create table driftline.profile_count (
    profile_id integer not null references driftline.profile,
    segment text not null,
    feature text not null,
    counts bigint[] not null,
    primary key (profile_id, segment, feature)
);
comment on table driftline.profile_count is 'reference counts by bin, of all traffic (*) and of each segment it has rows of';

create table driftline.profile_in_force (
    model_id smallint not null references driftline.model,
    version text not null,
    profile_id integer not null references driftline.profile,
    accepted_over integer references driftline.profile,
    since timestamptz not null default now(),
    primary key (model_id, version)
);
comment on column driftline.profile_in_force.version is 'a version with a reference of its own, or * for all others';
comment on column driftline.profile_in_force.accepted_over is
    'which profile, of a file or of the first events, stood there before a person accepted another one; null if none did';

-- The log: how far it is read, by topic and partition. The truth about offsets lives here.

create table driftline.stream_offset (
    topic text not null,
    partition integer not null,
    topic_id text not null,
    next bigint not null,
    newest_event timestamptz,
    advanced_at timestamptz,
    end_offset bigint,
    caught_up_since timestamptz,
    idle_through timestamptz,
    primary key (topic, partition)
);
comment on column driftline.stream_offset.idle_through is
    'event time up to which this partition, read to its end, promises nothing older';

create table driftline.event_count (
    topic text not null,
    partition integer not null,
    model text not null,
    reason text not null,
    n bigint not null,
    primary key (topic, partition, model, reason)
);

create table driftline.dead_letter (
    dead_letter_id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    reason text not null,
    detail text not null,
    model text,
    topic text not null,
    partition integer not null,
    record_offset bigint not null,
    element integer not null,
    payload bytea,
    published_at timestamptz,
    replay_began_at timestamptz,
    replayed_at timestamptz,
    replayed_by text
);
comment on column driftline.dead_letter.replay_began_at is
    'when somebody last began to send it again; without replayed_at nobody knows whether it arrived';
create index on driftline.dead_letter (dead_letter_id) where published_at is null;
create index on driftline.dead_letter (at);

-- Predictions and labels, append-only, kept until the label horizon and dropped by whole partitions.

create table driftline.prediction (
    horizon_s integer not null,
    model_id smallint not null,
    key uuid not null,
    version smallint not null,
    variant smallint not null,
    event_time timestamptz not null,
    prediction float8 not null,
    score float8 not null,
    segments bytea not null,
    has_features boolean not null,
    late boolean not null,
    unique (key, version, variant, event_time, horizon_s)
) partition by list (horizon_s);
comment on column driftline.prediction.prediction is 'code of the class, or the value itself for regression';
comment on column driftline.prediction.score is 'NaN where the event carried none';

create table driftline.label (
    horizon_s integer not null,
    model_id smallint not null,
    key uuid not null,
    event_time timestamptz not null,
    label float8 not null,
    reward float8 not null,
    late boolean not null,
    prediction_time timestamptz,
    unique (key, event_time, label, horizon_s)
) partition by list (horizon_s);
comment on column driftline.label.prediction_time is
    'when its prediction was made, if the label tells: then it belongs to predictions of that time only';

create table driftline.served_features (
    horizon_s integer not null,
    model_id smallint not null,
    key uuid not null,
    event_time timestamptz not null,
    unique (key, event_time, horizon_s)
) partition by list (horizon_s);

create function driftline.ensure_partitions(parent text, horizon_s integer, first timestamptz, last timestamptz)
    returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
-- Creates what is missing of the time partitions of one horizon that cover [first, last]; each is half a horizon wide.
declare
    width constant interval := make_interval(secs => greatest(horizon_s / 2.0, 1));
    slot timestamptz := date_bin(width, first, timestamptz '2000-01-01 00:00:00+00');
    by_horizon constant text := format('%s_%s', parent, horizon_s);
    child text;
    made integer := 0;
begin
    if parent not in ('prediction', 'label', 'served_features') then
        raise exception 'no partitioned table %', parent;
    end if;
    perform pg_advisory_xact_lock(3, 0);
    if to_regclass(format('driftline.%I', by_horizon)) is null then
        execute format('create table driftline.%I (like driftline.%I including all) partition by range (event_time)',
                       by_horizon, parent);
        execute format('alter table driftline.%I attach partition driftline.%I for values in (%s)',
                       parent, by_horizon, horizon_s);
        made := made + 1;
    end if;
    while slot <= last loop
        child := format('%s_%s', by_horizon, extract(epoch from slot)::bigint);
        if to_regclass(format('driftline.%I', child)) is null then
            execute format('create table driftline.%I (like driftline.%I including all)', child, by_horizon);
            execute format('alter table driftline.%I attach partition driftline.%I for values from (%L) to (%L)',
                           by_horizon, child, slot, slot + width);
            made := made + 1;
        end if;
        slot := slot + width;
    end loop;
    return made;
end $$;

create function driftline.drop_partitions(parent text, horizon_s integer, before timestamptz)
    returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
-- Drops the time partitions of one horizon that end at or before `before`.
declare
    child record;
    dropped integer := 0;
begin
    if parent not in ('prediction', 'label', 'served_features') then
        raise exception 'no partitioned table %', parent;
    end if;
    perform pg_advisory_xact_lock(3, 0);
    for child in
        select c.relname::text as name,
               substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)')::timestamptz as ends
          from pg_inherits i
          join pg_class c on c.oid = i.inhrelid
         where i.inhparent = to_regclass(format('driftline.%I', format('%s_%s', parent, horizon_s)))
    loop
        if child.ends <= before then
            execute format('drop table driftline.%I', child.name);
            dropped := dropped + 1;
        end if;
    end loop;
    return dropped;
end $$;

-- They run with their owner's rights, so who may only read must not run them.
revoke execute on function driftline.ensure_partitions(text, integer, timestamptz, timestamptz) from public;
revoke execute on function driftline.drop_partitions(text, integer, timestamptz) from public;

-- Pane deltas wait here until their pane closes; then they are folded into one rollup a slide.

create table driftline.pane (
    pane_delta_id bigint generated always as identity primary key,
    model_id smallint not null,
    version smallint not null,
    segment smallint not null,
    pane_start timestamptz not null,
    late boolean not null,
    profile_id integer not null,
    n bigint not null,
    vector bytea not null
);
create index on driftline.pane (model_id, pane_start);
comment on column driftline.pane.segment is '-1 for all traffic, else the code of a name=value';

create table driftline.outcome (
    outcome_delta_id bigint generated always as identity primary key,
    model_id smallint not null,
    version smallint not null,
    segment smallint not null,
    cohort_start timestamptz not null,
    arrival_start timestamptz not null,
    late boolean not null,
    profile_id integer not null,
    n bigint not null,
    vector bytea not null
);
create index on driftline.outcome (model_id, arrival_start);
create index on driftline.outcome (model_id, cohort_start);
comment on column driftline.outcome.cohort_start is 'grain of windows in which the predictions lie';
comment on column driftline.outcome.arrival_start is 'pane in which the later of prediction and label lies';

create table driftline.rollup (
    model_id smallint not null,
    kind text not null check (kind in ('features', 'cohort', 'arrival')),
    grain_start timestamptz not null,
    version smallint not null,
    segment smallint not null,
    profile_id integer not null,
    n bigint not null,
    vector bytea not null,
    -- How many there were is asked more often than what they were, and the vectors are long.
    primary key (model_id, kind, grain_start, version, segment, profile_id) include (n)
);

create table driftline.warm_up (
    warm_up_id bigint generated always as identity primary key,
    model_id smallint not null,
    version text not null,
    first_event timestamptz not null,
    n bigint not null,
    content bytea not null
);
create index on driftline.warm_up (model_id, version);
comment on table driftline.warm_up is 'events of models whose reference is still being collected';

-- What the evaluator derives.

create table driftline.evaluation (
    model_id smallint primary key references driftline.model,
    closed_through timestamptz,
    seen_outcome_delta_id bigint not null default 0,
    restated_at timestamptz not null default '-infinity'
);

create table driftline.detector_state (
    model_id smallint not null,
    version smallint not null,
    segment smallint not null,
    profile_id integer not null,
    spec text not null,
    judged_through timestamptz not null,
    content bytea not null,
    primary key (model_id, version, segment)
);

create table driftline.swing (
    model_id smallint not null,
    version smallint not null,
    segment smallint not null,
    profile_id integer not null,
    content bytea not null,
    primary key (model_id, version, segment)
);
comment on table driftline.swing is 'how much features swing from window to window, beyond what independent events would';

create table driftline.verdict (
    model_id smallint not null,
    version smallint not null,
    segment smallint not null,
    feature text not null,
    detector text not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    score float8 not null,
    threshold float8 not null,
    p_value float8,
    n_reference bigint not null,
    n_current bigint not null,
    level text not null check (level in ('not_ready', 'ok', 'warning', 'drift')),
    revision integer not null default 1,
    profile_id integer not null,
    counts bigint[],
    n_missing bigint generated always as (counts[cardinality(counts) - 1]) stored,
    n_other bigint generated always as (counts[cardinality(counts)]) stored,
    changed_at timestamptz,
    -- Who looks at a model looks at one segment of it, nearly always. What is included answers without the table.
    primary key (model_id, segment, window_end, version, feature, detector) include (score, threshold, level, p_value)
);
-- For v_distribution, which knows windows by their starts.
create index on driftline.verdict (model_id, window_start);
-- For v_data_quality, which else would read every count of every bin.
create index on driftline.verdict (model_id, segment, window_end) include (version, feature, n_current, n_missing, n_other)
 where counts is not null;

comment on column driftline.verdict.changed_at is 'estimated event time of the change that a sequential detector found';

create table driftline.performance (
    model_id smallint not null,
    version smallint not null,
    segment smallint not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    basis text not null check (basis in ('cohort', 'arrival', 'estimated')),
    metric text not null,
    value float8,
    low float8,
    high float8,
    n_predictions bigint not null,
    n_labelled bigint not null,
    coverage float8,
    reason text,
    corrected float8,
    corrected_low float8,
    corrected_high float8,
    n_effective bigint,
    expected_coverage float8,
    mature_at timestamptz,
    revision integer not null default 1,
    primary key (model_id, segment, window_end, version, basis, metric) include (value)
);
comment on column driftline.performance.reason is 'why there is no value, or no interval';

create table driftline.label_delay (
    model_id smallint not null,
    version smallint not null,
    block_start timestamptz not null,
    watched_since timestamptz not null,
    spec text not null,
    n_classes smallint not null,
    content bytea not null,
    primary key (model_id, version, block_start)
);
comment on table driftline.label_delay is 'labels by block of cohorts, age, true class and score group, see labels_join/delays.py';

-- From verdict to message: episodes, what goes out, what came of it.

create table driftline.policy_state (
    model_id smallint not null references driftline.model,
    version smallint not null,
    content jsonb not null,
    primary key (model_id, version)
);
comment on table driftline.policy_state is 'what the policy remembers between windows: streaks, delays, the last request';

create table driftline.alarm_spending (
    model_id smallint not null references driftline.model,
    version smallint not null,
    period_start timestamptz not null,
    period_end timestamptz not null,
    budget float8 not null,
    looks bigint not null,
    expected_e12 bigint not null,
    primary key (model_id, version, period_start)
);
comment on table driftline.alarm_spending is 'what was looked at in each period of a false-alarm budget, as windows closed';
comment on column driftline.alarm_spending.expected_e12 is 'false episodes to be expected of those looks, in 1e-12: integers add up the same in any order';

create table driftline.episode (
    episode_id uuid primary key,
    model_id smallint not null references driftline.model,
    version text not null,
    kind text not null check (kind in ('drift', 'performance')),
    severity text not null check (severity in ('warning', 'critical')),
    causes jsonb not null default '[]',
    opened_at timestamptz not null,
    closed_at timestamptz,
    closed_as text check (closed_as in ('recovered', 'superseded')),
    acknowledged_by text,
    acknowledged_at timestamptz,
    snoozed_until timestamptz
);
create index on driftline.episode (model_id, opened_at);
create index on driftline.episode (model_id) where closed_at is null;

create table driftline.outbox (
    sequence bigint generated always as identity primary key,
    event_id text not null unique,
    type text not null,
    topic text not null,
    model text not null,
    version text not null,
    segment text not null,
    episode_id uuid,
    occurred_at timestamptz not null,
    created_at timestamptz not null default now(),
    published_at timestamptz,
    failed_at timestamptz,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    last_error text,
    fanned_out_at timestamptz,
    payload jsonb not null
);
create index on driftline.outbox (topic, sequence) where published_at is null and failed_at is null;
create index on driftline.outbox (sequence) where fanned_out_at is null;
create index on driftline.outbox (created_at);
create index on driftline.outbox (episode_id, sequence) where published_at is null and failed_at is null;
comment on column driftline.outbox.failed_at is 'when it was given up, older than outbox.age_max';
comment on column driftline.outbox.fanned_out_at is 'when a delivery was made for each webhook that wants it';

-- One row for each message and each webhook that wants it.
create table driftline.delivery (
    event_id text not null references driftline.outbox (event_id) on delete cascade,
    webhook text not null,
    sequence bigint not null,
    episode_id uuid,
    created_at timestamptz not null default now(),
    delivered_at timestamptz,
    failed_at timestamptz,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    last_error text,
    dropped_at timestamptz,
    primary key (event_id, webhook)
);
create index on driftline.delivery (webhook, sequence) where delivered_at is null and failed_at is null and dropped_at is null;
create index on driftline.delivery (webhook, episode_id, sequence) where delivered_at is null and failed_at is null and dropped_at is null;
comment on column driftline.delivery.sequence is 'that of its message, as is episode_id: the order in which deliveries are made';
comment on column driftline.delivery.attempts is 'the attempt under way or made last: whoever made an earlier one has no say any more';
comment on column driftline.delivery.dropped_at is 'when it had become pointless: its episode was snoozed, and closed before that ended';

-- Who did what by hand.
create table driftline.audit (
    audit_id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null,
    action text not null,
    subject text not null,
    detail jsonb not null default '{}'
);

create table driftline.retraining (
    request_id text primary key,
    episode_id uuid,
    model text not null,
    version text not null,
    state text not null,
    attempt integer not null default 0,
    requested_at timestamptz not null,
    told_at timestamptz,
    finished_at timestamptz,
    outcome text,
    new_version text,
    lineage jsonb not null default '{}'
);
create index on driftline.retraining (model, requested_at);
comment on column driftline.retraining.state is 'requested, started, succeeded or failed';
comment on column driftline.retraining.told_at is 'when the status that is shown was so, by the clock of whoever retrains';

create table driftline.rollout (
    model text not null,
    champion text not null,
    challenger text not null,
    metric text not null,
    estimate float8,
    low float8,
    high float8,
    verdict text not null,
    next_share float8,
    decided_at timestamptz not null,
    primary key (model, challenger, metric, decided_at)
);

create table driftline.worker (
    worker_id text primary key,
    host text not null,
    pid integer not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    state text not null,
    partitions jsonb not null default '[]'
);

-- Views: the contract with dashboards and people. Versions are joined from the left, though each has a name, so that who
-- does not ask for them does not wait for them either.

create view driftline.v_segments as
-- With a row for all traffic, so that other views can be asked for it through an index as for any segment.
select m.model_id, n.code, m.name as model, n.name as segment
  from driftline.model m
  join driftline.name n on n.model_id = m.model_id and n.kind = 'segment'
 union all
select model_id, (-1)::smallint, name, '*' from driftline.model;

create view driftline.v_drift as
select s.model, v.name as version, s.segment,
       d.feature, d.window_start, d.window_end, d.detector, d.score, d.threshold, d.p_value,
       d.n_reference, d.n_current, d.level, d.revision
  from driftline.verdict d
  join driftline.v_segments s on s.model_id = d.model_id and s.code = d.segment
  left join driftline.name v on v.model_id = d.model_id and v.kind = 'version' and v.code = d.version;

create view driftline.v_performance as
select s.model, v.name as version, s.segment,
       p.window_start, p.window_end, p.basis, p.metric, p.value, p.low, p.high,
       p.n_predictions, p.n_labelled, p.coverage, p.revision, p.reason,
       p.corrected, p.corrected_low, p.corrected_high, p.n_effective, p.expected_coverage, p.mature_at
  from driftline.performance p
  join driftline.v_segments s on s.model_id = p.model_id and s.code = p.segment
  left join driftline.name v on v.model_id = p.model_id and v.kind = 'version' and v.code = p.version;

-- How far estimates were off, once labels are in.
create view driftline.v_estimate_error as
select s.model, v.name as version, s.segment, e.window_start, e.window_end, e.metric,
       e.value as estimated, e.low, e.high, c.value as realised, e.value - c.value as error,
       c.value between e.low and e.high as within, c.n_predictions, c.n_labelled, c.coverage
  from driftline.performance e
  join driftline.performance c using (model_id, segment, window_end, version, metric)
  join driftline.v_segments s on s.model_id = e.model_id and s.code = e.segment
  left join driftline.name v on v.model_id = e.model_id and v.kind = 'version' and v.code = e.version
 where e.basis = 'estimated' and c.basis = 'cohort' and e.value is not null and c.value is not null;

create view driftline.v_distribution as
select s.model, v.name as version, s.segment,
       d.feature, d.window_start, b.bin, b.label,
       r.counts[b.bin + 1] / nullif(d.n_reference, 0)::float8 as reference_share,
       d.counts[b.bin + 1] / nullif(d.n_current, 0)::float8 as current_share
  from driftline.verdict d
  join driftline.v_segments s on s.model_id = d.model_id and s.code = d.segment
  left join driftline.name v on v.model_id = d.model_id and v.kind = 'version' and v.code = d.version
  join driftline.profile_bin b on b.profile_id = d.profile_id and b.feature = d.feature
  left join driftline.profile_count r
         on r.profile_id = d.profile_id and r.segment = s.segment and r.feature = d.feature
 where d.counts is not null;

create view driftline.v_data_quality as
select s.model, v.name as version, s.segment,
       d.feature, d.window_start, d.window_end, d.n_current as n,
       d.n_missing / nullif(d.n_current, 0)::float8 as missing_share,
       d.n_other / nullif(d.n_current, 0)::float8 as other_share
  from driftline.verdict d
  join driftline.v_segments s on s.model_id = d.model_id and s.code = d.segment
  left join driftline.name v on v.model_id = d.model_id and v.kind = 'version' and v.code = d.version
 where d.counts is not null;

create view driftline.v_traffic as
select s.model, v.name as version, s.segment,
       r.grain_start as window_start,
       r.grain_start + make_interval(secs => gcd((m.settings -> 'windows' ->> 'length_ms')::bigint,
                                                 (m.settings -> 'windows' ->> 'slide_ms')::bigint) / 1000.0) as window_end,
       coalesce(sum(r.n) filter (where r.kind = 'features'), 0)::bigint as n_predictions,
       coalesce(sum(r.n) filter (where r.kind = 'arrival'), 0)::bigint as n_labelled
  from driftline.rollup r
  join driftline.model m using (model_id)
  left join driftline.name v on v.model_id = r.model_id and v.kind = 'version' and v.code = r.version
  join driftline.v_segments s on s.model_id = r.model_id and s.code = r.segment
 where r.kind in ('features', 'arrival')
 group by m.model_id, s.model, v.name, s.segment, r.grain_start;

create view driftline.v_events as
select event_id, type, model, version, segment, episode_id, occurred_at, published_at, payload from driftline.outbox;

create view driftline.v_episodes as
select e.episode_id, m.name as model, e.version, e.opened_at, e.closed_at, e.kind, e.severity, e.causes, e.acknowledged_by
  from driftline.episode e
  join driftline.model m using (model_id);

create view driftline.v_alarms as
select m.name as model, v.name as version, a.period_start, a.period_end, a.looks, a.budget,
       a.expected_e12 / 1e12::float8 as expected,
       (select count(*) from driftline.episode e
         where e.model_id = a.model_id and e.version = v.name and e.kind = 'drift'
           and e.opened_at > a.period_start and e.opened_at <= a.period_end) as episodes
  from driftline.alarm_spending a
  join driftline.model m using (model_id)
  join driftline.name v on v.model_id = a.model_id and v.kind = 'version' and v.code = a.version;

create view driftline.v_retraining as
select request_id, episode_id, model, version, state, requested_at, finished_at, outcome, lineage from driftline.retraining;

create view driftline.v_rollout as
select model, champion, challenger, metric, estimate, low, high, verdict, next_share, decided_at from driftline.rollout;

create view driftline.v_dead_letters as
select dead_letter_id, at, reason, detail, model, topic, partition, record_offset, element, payload, published_at, replayed_at
  from driftline.dead_letter;

create view driftline.v_deliveries as
select event_id, 'topic' as channel, topic as destination, type, model, version, episode_id, created_at,
       case when published_at is not null then 'delivered' when failed_at is not null then 'failed' else 'waiting' end as state,
       published_at as delivered_at, failed_at, attempts, next_attempt_at, last_error
  from driftline.outbox
union all
select event_id, 'webhook', d.webhook, o.type, o.model, o.version, o.episode_id, d.created_at,
       case when d.delivered_at is not null then 'delivered' when d.failed_at is not null then 'failed'
            when d.dropped_at is not null then 'dropped' else 'waiting' end,
       d.delivered_at, d.failed_at, d.attempts, d.next_attempt_at, d.last_error
  from driftline.delivery d
  join driftline.outbox o using (event_id);

create view driftline.v_counts as
select model, reason, topic, partition, n from driftline.event_count;

create view driftline.v_workers as
select w.worker_id, w.host, w.pid, w.started_at, w.seen_at, w.state, w.partitions,
       (select sum(greatest(o.end_offset - o.next, 0))
          from driftline.stream_offset o
          join jsonb_array_elements(w.partitions) p on p ->> 0 = o.topic and (p ->> 1)::integer = o.partition) as lag
  from driftline.worker w;
