-- How many events a model had, stretch by stretch, and episodes of a fourth kind: the traffic is not as it was.

create table driftline.traffic (
    model_id smallint primary key references driftline.model,
    content jsonb not null
);
comment on table driftline.traffic is 'predictions and labels of the last stretches of event time, and the versions there are';

alter table driftline.episode drop constraint episode_kind_check;
alter table driftline.episode add constraint episode_kind_check
    check (kind in ('drift', 'performance', 'quality', 'traffic'));

create or replace view driftline.v_alarms as
select m.name as model, v.name as version, a.period_start, a.period_end, a.looks, a.budget,
       a.expected_e12 / 1e12::float8 as expected,
       (select count(*) from driftline.episode e
         where e.model_id = a.model_id and e.version = v.name and e.kind in ('drift', 'quality', 'traffic')
           and e.opened_at > a.period_start and e.opened_at <= a.period_end) as episodes
  from driftline.alarm_spending a
  join driftline.model m using (model_id)
  join driftline.name v on v.model_id = a.model_id and v.kind = 'version' and v.code = a.version;
