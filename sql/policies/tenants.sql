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
                                   'realtime_sessions', 'live_activity', 'connected_sources', 'source_status', 'ledger_status'];
    -- What some may change of the rows they read: [table, columns, roles of the organisation].
    changeable constant text[] := array[
        ['ai_insights', 'is_read, is_dismissed', '{owner,admin,member}'],
        ['performance_alerts', 'is_acknowledged', '{owner,admin,member}'],
        ['funnels', 'is_active, funnel_name, window_seconds, unit, steps', '{owner,admin}'],
        ['data_sources', 'source_name, is_active, sync_frequency_minutes', '{owner,admin}']];
    -- What they may add: [table, columns, roles of the organisation].
    addable constant text[] := array[
        ['funnels', 'organization_id, funnel_name, window_seconds, unit, steps', '{owner,admin}']];
    -- Where columns are withheld: [table, the ones to read].
    partly constant text[] := array[
        ['data_sources', 'organization_id, id, source_type, source_name, time_zone, currency, is_active, is_connected, last_sync_at, '
            'sync_frequency_minutes, sync_status, last_error, failure_kind, failures, account_name, next_sync_at, created_at, updated_at'],
        ['event_keys', 'organization_id, id, name, hint, created_at, revoked_at']];
    -- Which organisations the user of this request is a member of. (No function: calling one costs as much as a page of unread insights.)
    own constant text := 'select m.organization_id from private.memberships m where m.user_id = (select auth.uid())';
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
    for i in 1 .. array_length(addable, 1) loop
        execute format('grant insert (%s) on public.%I to authenticated, service_role', addable[i][2], addable[i][1]);
        execute format('drop policy if exists members_add on public.%I', addable[i][1]);
        execute format('create policy members_add on public.%I for insert to authenticated '
                       'with check (organization_id = any (array(select private.org_ids_as(%L))))', addable[i][1], addable[i][3]);
        execute format('drop policy if exists services_add on public.%I', addable[i][1]);
        execute format('create policy services_add on public.%I for insert to service_role with check (true)', addable[i][1]);
    end loop;
    foreach name in array readable || common || array['data_sources', 'event_keys'] loop
        execute format('drop policy if exists members_read on public.%I', name);
        execute format('create policy members_read on public.%I for select to authenticated using (%s)', name,
            case when name = any (common) then '(select auth.uid()) is not null'
                 else 'organization_id = any (array(' || own || '))' end);
        execute format('drop policy if exists all_read on public.%I', name);
        execute format('create policy all_read on public.%I for select to service_role, analytics_bi using (true)', name);
    end loop;
end $$;
grant execute on function private.org_ids_as(text[]) to authenticated;
-- What policies and that function read: each user the own rows. (Nobody gets into schema private; both are parsed already.)
grant select on private.memberships to authenticated;
drop policy if exists own on private.memberships;
create policy own on private.memberships for select to authenticated using (user_id = (select auth.uid()));
select private.copy_all_memberships();

-- Which people were erased, when and by whom: for those who answer for it.
grant select on public.erasures to authenticated, service_role, analytics_bi;
drop policy if exists members_read on public.erasures;
create policy members_read on public.erasures for select to authenticated
    using (organization_id = any (array(select private.org_ids_as('{owner,admin}'))));
drop policy if exists all_read on public.erasures;
create policy all_read on public.erasures for select to service_role, analytics_bi using (true);

-- Tables of tenants: an application's own policies stand where it has any. (Those of our making are told by what no application has:
-- Supabase's earlier defaults gave service_role every right on them, which an application keeps on its own.)
do $$
declare
    adopted record;
begin
    for adopted in
        select v.*, case v.name
            when 'organizations' then (
                select array_agg(a.attname::text order by a.attnum) from pg_catalog.pg_attribute a
                where a.attrelid = 'public.organizations'::regclass and a.attnum > 0 and not a.attisdropped
            ) = array['id', 'slug', 'name', 'time_zone', 'currency', 'partition_key', 'is_active', 'created_at', 'updated_at', 'deleting_since']
            else exists (
                select from pg_catalog.pg_constraint c
                where c.conrelid = 'public.organization_members'::regclass and c.conname = 'organization_members_role_known'
            ) end as is_ours
        from (values ('organizations', 'id'), ('organization_members', 'organization_id')) v (name, key)
    loop
        execute format('drop policy if exists members_read on public.%I', adopted.name);
        if not exists (
            select from pg_catalog.pg_policy p
            where p.polrelid = to_regclass('public.' || adopted.name) and p.polname not in ('pipeline', 'all_read', 'members_read')
        ) then
            execute format('revoke all on public.%I from public, anon, authenticated', adopted.name);
            if adopted.is_ours then
                execute format('revoke all on public.%I from service_role', adopted.name);
            end if;
            execute format('alter table public.%I enable row level security', adopted.name);
            execute format('grant select on public.%I to authenticated', adopted.name);
            execute format('create policy members_read on public.%I for select to authenticated '
                           'using (%I = any (array(select m.organization_id from private.memberships m where m.user_id = (select auth.uid()))))',
                           adopted.name, adopted.key);
        end if;
        execute format('grant select on public.%I to analytics_bi, service_role', adopted.name);
        execute format('drop policy if exists all_read on public.%I', adopted.name);
        execute format('create policy all_read on public.%I for select to analytics_bi, service_role using (true)', adopted.name);
    end loop;
end $$;

-- What policies asked before.
drop function if exists private.org_ids();
drop function if exists private.own_org_ids();
