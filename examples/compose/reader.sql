-- The role that Grafana reads with: whoever sees a dashboard can send any query, so it may read views and nothing else.
\getenv password READER_PASSWORD
select format('create role driftline_reader login password %L', :'password')
 where not exists (select from pg_roles where rolname = 'driftline_reader') \gexec
select format('alter role driftline_reader password %L', :'password') \gexec
grant usage on schema driftline to driftline_reader;
grant select on driftline.v_alarms, driftline.v_counts, driftline.v_data_quality, driftline.v_deliveries,
    driftline.v_distribution, driftline.v_drift, driftline.v_episodes, driftline.v_estimate_error, driftline.v_events,
    driftline.v_performance, driftline.v_retraining, driftline.v_rollout, driftline.v_segments, driftline.v_traffic,
    driftline.v_workers
    to driftline_reader;
