-- Episodes of a third kind: the data, or the traffic, are broken. The table is small, so its check is looked at at once.

alter table driftline.episode drop constraint episode_kind_check;
alter table driftline.episode add constraint episode_kind_check check (kind in ('drift', 'performance', 'quality'));

-- What looks at the data's quality cost is part of what was spent, so their episodes are part of what came of it.
create or replace view driftline.v_alarms as
select m.name as model, v.name as version, a.period_start, a.period_end, a.looks, a.budget,
       a.expected_e12 / 1e12::float8 as expected,
       (select count(*) from driftline.episode e
         where e.model_id = a.model_id and e.version = v.name and e.kind in ('drift', 'quality')
           and e.opened_at > a.period_start and e.opened_at <= a.period_end) as episodes
  from driftline.alarm_spending a
  join driftline.model m using (model_id)
  join driftline.name v on v.model_id = a.model_id and v.kind = 'version' and v.code = a.version;
