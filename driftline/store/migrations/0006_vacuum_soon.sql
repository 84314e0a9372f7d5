-- Time partitions are vacuumed soon after rows come, not when a fifth of a table is new.
--
-- Who reads a row first marks it as committed, which changes its page. Later than the next checkpoint that costs the log the
-- whole page, for every label that finds its prediction; while the page is still in memory it costs next to nothing. Only
-- settings change: nothing is rewritten, and readers and writers go on.

create or replace function driftline.ensure_partitions(parent text, horizon_s integer, first timestamptz, last timestamptz)
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
            execute format('create table driftline.%I (like driftline.%I including all)'
                           ' with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000)',
                           child, by_horizon);
            execute format('alter table driftline.%I attach partition driftline.%I for values from (%L) to (%L)',
                           by_horizon, child, slot, slot + width);
            made := made + 1;
        end if;
        slot := slot + width;
    end loop;
    return made;
end $$;

do $$
declare
    child regclass;
begin
    for child in
        select t.relid
          from unnest(array['prediction', 'label', 'served_features']) parent,
               pg_partition_tree(format('driftline.%I', parent)::regclass) t
         where t.isleaf and t.level = 2
    loop
        execute format('alter table %s set (autovacuum_vacuum_insert_scale_factor = 0,'
                       ' autovacuum_vacuum_insert_threshold = 50000)', child);
    end loop;
end $$;
