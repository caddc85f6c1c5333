-- What members of an organisation read and change, and who else reads the same of all organisations (BI, service_role).
-- Facts are written by the pipeline alone. anon reads nothing.
grant usage on schema public to authenticated, service_role, analytics_bi;

do $$
declare
    -- Whose rows members read, whole. What has personal data of visitors stays with live eyes and entities; raw pages, digests,
    -- quarantined records and the working tables of cohorts are nobody's but the pipeline's.
    readable constant text[] := array[
        'hourly_facts', 'daily_facts', 'metric_observations', 'daily_observations',
        'orders', 'refunds', 'customers', 'order_sales',
        'event_tracking', 'visitor_sessions', 'live_sessions', 'visitors',
        'cohort_analysis', 'funnel_analysis', 'funnels', 'ai_insights', 'performance_alerts',
        'partition_ledger', 'sync_logs', 'sync_streams'];
    -- The same for all organisations.
    common constant text[] := array['channels', 'metrics', 'exchange_rates'];
    views constant text[] := array['hourly_aggregates', 'daily_aggregates', 'metric_ratios', 'cohort_retention', 'funnel_overview',
                                   'realtime_sessions', 'live_activity', 'connected_sources'];
    -- What some may change of the rows they read: [table, columns, roles of the organisation].
    changeable constant text[] := array[
        ['ai_insights', 'is_read, is_dismissed', '{owner,admin,member}'],
        ['performance_alerts', 'is_acknowledged', '{owner,admin,member}'],
        ['funnels', 'is_active', '{owner,admin}'],
        ['data_sources', 'source_name, is_active, sync_frequency_minutes', '{owner,admin}']];
    -- Where columns are withheld: [table, the ones to read].
    partly constant text[] := array[
        ['data_sources', 'organization_id, id, source_type, source_name, time_zone, currency, is_active, is_connected, last_sync_at, '
            'sync_frequency_minutes, sync_status, last_error, failure_kind, account_name, next_sync_at, created_at, updated_at'],
        ['event_keys', 'organization_id, id, name, hint, created_at, revoked_at']];
    name text;
    i integer;
begin
    foreach name in array readable || common || views loop
        execute format('grant select on public.%I to authenticated, service_role, analytics_bi', name);
    end loop;
    for i in 1 .. array_length(partly, 1) loop
        execute format('grant select (%s) on public.%I to authenticated, service_role, analytics_bi', partly[i][2], partly[i][1]);
    end loop;
    for i in 1 .. array_length(changeable, 1) loop
        execute format('grant update (%s) on public.%I to authenticated, service_role', changeable[i][2], changeable[i][1]);
        execute format('drop policy if exists members_change on public.%I', changeable[i][1]);
        execute format('create policy members_change on public.%I for update to authenticated '
                       'using (organization_id = any (array(select private.org_ids_as(%L)))) '
                       'with check (organization_id = any (array(select private.org_ids_as(%2$L))))', changeable[i][1], changeable[i][3]);
        execute format('drop policy if exists services_change on public.%I', changeable[i][1]);
        execute format('create policy services_change on public.%I for update to service_role using (true) with check (true)', changeable[i][1]);
    end loop;
    foreach name in array readable || common || array['data_sources', 'event_keys'] loop
        execute format('drop policy if exists members_read on public.%I', name);
        execute format('create policy members_read on public.%I for select to authenticated using (%s)', name,
            case when name = any (common) then '(select auth.uid()) is not null'
                 else 'organization_id = any ((select private.own_org_ids())::uuid[])' end);
        execute format('drop policy if exists all_read on public.%I', name);
        execute format('create policy all_read on public.%I for select to service_role, analytics_bi using (true)', name);
    end loop;
end $$;
grant execute on function private.own_org_ids(), private.org_ids_as(text[]) to authenticated;

-- Tables of tenants: an application's own policies stand where it has any.
do $$
declare
    adopted record;
begin
    for adopted in
        select * from (values ('organizations', 'id'), ('organization_members', 'organization_id')) v (name, key)
    loop
        execute format('grant select on public.%I to analytics_bi, service_role', adopted.name);
        execute format('drop policy if exists all_read on public.%I', adopted.name);
        execute format('create policy all_read on public.%I for select to analytics_bi, service_role using (true)', adopted.name);
        execute format('drop policy if exists members_read on public.%I', adopted.name);
        if not exists (
            select from pg_catalog.pg_policy p
            where p.polrelid = to_regclass('public.' || adopted.name) and p.polname not in ('pipeline', 'all_read', 'members_read')
        ) then
            execute format('revoke all on public.%I from public, anon, authenticated', adopted.name);
            execute format('alter table public.%I enable row level security', adopted.name);
            execute format('grant select on public.%I to authenticated', adopted.name);
            execute format('create policy members_read on public.%I for select to authenticated '
                           'using (%I = any ((select private.own_org_ids())::uuid[]))', adopted.name, adopted.key);
        end if;
    end loop;
end $$;

-- What policies asked before.
drop function if exists private.org_ids();
