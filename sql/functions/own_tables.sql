-- The tables of the project in schemas public and private, parents of partitions included. (Schema public may hold an
-- application's tables as well, which are none of ours; organizations and organization_members may be adopted.)
create or replace function private.own_tables() returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp as $$
    select c.oid::regclass
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p')
      and (n.nspname = 'private' or n.nspname = 'public' and c.relname in (
          'organizations', 'organization_members', 'channels', 'metrics', 'exchange_rates', 'partition_ledger',
          'data_sources', 'sync_logs', 'sync_streams', 'raw_data_backup', 'raw_page_digests', 'raw_report_digests', 'quarantine',
          'orders', 'refunds', 'customers', 'order_sales', 'metric_observations', 'daily_observations', 'hourly_facts', 'daily_facts',
          'ai_insights', 'performance_alerts', 'operator_alerts', 'operator_notices', 'alert_rules', 'alert_notices',
          'narrative_consents', 'narrative_calls',
          'event_tracking', 'visitor_sessions', 'live_sessions', 'visitors', 'visitor_days', 'event_identities',
          'event_messages', 'event_keys', 'funnels', 'cohort_analysis', 'funnel_analysis',
          'cohort_members', 'cohort_persons', 'cohort_visits', 'cohort_orders', 'cohort_state',
          'erasures', 'erasure_salts', 'erased_ids', 'organization_retention'))
$$;

-- Its functions in these schemas. (is_time_zone stays open: a check constraint runs it with the rights of whoever writes organizations.)
create or replace function private.own_functions() returns setof regprocedure
language sql stable set search_path = pg_catalog, pg_temp as $$
    select p.oid::regprocedure
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'private' and p.proname <> 'is_time_zone'
       or n.nspname = 'public' and p.proname in (
          'aggregate_hourly_data', 'aggregate_daily_data', 'aggregate_funnels', 'ingest_orders', 'summarize_events', 'cleanup_events',
          'register_raw_pages', 'cleanup_old_hourly_aggregates', 'cleanup_old_daily_aggregates', 'cleanup_old_raw_data_backup',
          'close_hourly_partitions', 'make_partitions_ahead', 'discard_quarantined', 'aggregate_cohorts')
$$;
