-- Every table is closed until a policy opens it: only the owner (the pipeline) reads and writes.
-- organizations and organization_members may be adopted, and then keep the rights that their application has given.
do $$
declare
    relation text;
    role_name text;
begin
    for relation in
        select format('%I.%I', n.nspname, c.relname)
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('private', 'partitions') and c.relkind in ('r', 'p')
           or n.nspname = 'public' and c.relkind in ('r', 'p') and c.relname in (
               'channels', 'metrics', 'exchange_rates', 'partition_ledger',
               'data_sources', 'sync_logs', 'sync_streams', 'raw_data_backup', 'raw_page_digests', 'raw_report_digests', 'quarantine', 'orders', 'refunds',
               'customers', 'order_sales', 'metric_observations', 'daily_observations', 'hourly_facts', 'daily_facts', 'ai_insights', 'performance_alerts',
               'event_tracking', 'visitor_sessions', 'live_sessions', 'visitors', 'visitor_days', 'event_identities',
               'event_messages', 'event_keys', 'funnels', 'cohort_analysis', 'funnel_analysis')
    loop
        execute format('alter table %s enable row level security', relation);
        execute format('revoke all on %s from public', relation);
        foreach role_name in array array['anon', 'authenticated'] loop
            if exists (select from pg_catalog.pg_roles where rolname = role_name) then
                execute format('revoke all on %s from %I', relation, role_name);
            end if;
        end loop;
    end loop;

    for relation in
        select p.oid::regprocedure::text
        from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        -- (is_time_zone stays open: a check constraint runs it with the rights of whoever writes organizations.)
        where n.nspname = 'private' and p.proname <> 'is_time_zone' or n.nspname = 'public' and p.proname in (
            'aggregate_hourly_data', 'aggregate_daily_data', 'aggregate_funnels', 'ingest_orders', 'summarize_events', 'cleanup_events', 'register_raw_pages', 'cleanup_old_hourly_aggregates',
            'cleanup_old_daily_aggregates', 'cleanup_old_raw_data_backup', 'close_hourly_partitions',
            'make_partitions_ahead', 'discard_quarantined')
    loop
        execute format('revoke execute on function %s from public', relation);
        foreach role_name in array array['anon', 'authenticated'] loop
            if exists (select from pg_catalog.pg_roles where rolname = role_name) then
                execute format('revoke execute on function %s from %I', relation, role_name);
            end if;
        end loop;
    end loop;
end $$;
