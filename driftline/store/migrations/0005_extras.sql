-- What comes beside what counts: predictions that come twice, and features that nobody knows. Why a verdict is not ready.
-- And until when a version was seen, so that what its detectors remember can go. Columns without a default rewrite nothing.

create table driftline.extra (
    model_id smallint not null references driftline.model,
    pane_start timestamptz not null,
    feature text,
    n bigint not null
);
create index on driftline.extra (model_id, pane_start);
comment on table driftline.extra is 'what came beside what counts, by pane, until its slide closes';
comment on column driftline.extra.feature is 'a new feature, counted on a sample; null for predictions that came twice';

alter table driftline.traffic add column extras jsonb;
comment on column driftline.traffic.extras is 'what came beside what counts, by stretch';

alter table driftline.detector_state add column seen_through timestamptz;
alter table driftline.swing add column seen_through timestamptz;
comment on column driftline.detector_state.seen_through is 'event time of the last pane; null for those of before there was this column';

alter table driftline.verdict add column reason text;

create or replace view driftline.v_drift as
select s.model, v.name as version, s.segment,
       d.feature, d.window_start, d.window_end, d.detector, d.score, d.threshold, d.p_value,
       d.n_reference, d.n_current, d.level, d.revision, d.reason
  from driftline.verdict d
  join driftline.v_segments s on s.model_id = d.model_id and s.code = d.segment
  left join driftline.name v on v.model_id = d.model_id and v.kind = 'version' and v.code = d.version;
