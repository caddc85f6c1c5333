-- The roles that work for all organisations: the pipeline, the collector, BI, and Supabase's service_role.

-- The pipeline reads and writes every table of the project and calls every function. It owns none: what makes, closes and drops
-- partitions runs with the owner's rights.
grant usage on schema public, private to analytics_pipeline;
do $$
declare
    thing regclass;
    callable regprocedure;
begin
    for thing in select t from private.own_tables() t loop
        execute format('grant select, insert, update, delete on %s to analytics_pipeline', thing);
        execute format('drop policy if exists pipeline on %s', thing);
        execute format('create policy pipeline on %s to analytics_pipeline using (true) with check (true)', thing);
    end loop;
    for callable in select f from private.own_functions() f loop
        execute format('grant execute on function %s to analytics_pipeline', callable);
    end loop;
end $$;
grant select on private.hourly_source, public.hourly_aggregates, public.daily_aggregates, public.metric_ratios, public.cohort_retention,
    public.funnel_overview, public.realtime_sessions, public.live_activity, public.connected_sources, public.source_status, public.ledger_status
    to analytics_pipeline;

-- The collector stores events through private.collect_events(), sets rejected ones aside, and makes the source of an
-- organisation's first event. It reads which keys there are, by their hashes.
grant usage on schema public, private to analytics_collector;
grant execute on function private.open_event_stage(), private.collect_events() to analytics_collector;
grant execute on function private.ensure_event_sources(uuid[]), private.hold_organizations(uuid[]),
    private.event_speaks_of_erased(uuid, bytea) to analytics_collector;
grant select (organization_id, key_sha256, revoked_at) on public.event_keys to analytics_collector;
grant insert (organization_id, source, stream, level, record_key, field, reason, content, content_sha256) on public.quarantine to analytics_collector;
grant select (organization_id, level, resolution, content) on public.quarantine to analytics_collector;
drop policy if exists collector on public.event_keys;
create policy collector on public.event_keys for select to analytics_collector using (true);
drop policy if exists collector_puts on public.quarantine;
create policy collector_puts on public.quarantine for insert to analytics_collector with check (source = 'events' and level = 'event');
drop policy if exists collector_counts on public.quarantine;
create policy collector_counts on public.quarantine for select to analytics_collector using (source = 'events' and level = 'event');
