-- Alerts to operators: opened and resolved from the state of the sources, and told by notices.

-- Opens what is wrong and resolves what no longer is; makes a notice for each of the channels. Run twice, it changes nothing.
-- failing: threshold syncs in a row failed that are tried again by themselves. stopped: at once, since nothing mends it by itself.
-- late: due for threshold of its own periods (5 minutes at least, so that a restart is no trouble), and nobody has begun; or
-- tracked events late (public.source_status).
create or replace function private.sync_operator_alerts(threshold integer, channels text[])
returns table (opened bigint, resolved bigint)
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    -- One at a time: two that look at the same moment would both open.
    perform pg_advisory_xact_lock(hashtext('public.operator_alerts'));
    return query
    with wrong as materialized (
        select t.organization_id, t.data_source_id, t.failures, t.what_to_do, r.reason,
               format('%s %s: %s', t.source_type, t.source_name, case r.reason
                   when 'failing' then format('%s syncs in a row failed (%s): %s', t.failures, t.failure_kind, left(t.last_error, 300))
                   when 'stopped' then format('waits for an operator (%s): %s', t.failure_kind, left(t.last_error, 300))
                   else case when t.source_type = 'events' then 'no tracked event since ' else 'due, and not synced, since ' end
                        || to_char(case when t.source_type = 'events' then t.last_success_at else t.next_try_at end,
                                   'YYYY-MM-DD HH24:MI "UTC"') end) as message
        from public.source_status t
        join public.organizations o on o.id = t.organization_id and o.is_active
        cross join lateral (
            select case when t.status = 'paused' then null
                        when t.status = 'stopped' then 'stopped'
                        when t.failures >= threshold then 'failing'
                        when t.source_type = 'events' then case when t.is_late then 'late' end
                        when t.failures = 0 and t.status <> 'running' and t.next_try_at
                             + greatest(interval '5 minutes', threshold * make_interval(mins => t.sync_frequency_minutes)) < now() then 'late'
                   end as reason
        ) r
        where r.reason is not null
    ), mended as (
        update public.operator_alerts a set resolved_at = greatest(now(), a.opened_at)
        where a.resolved_at is null
          and not exists (select from wrong w where w.organization_id = a.organization_id
                            and w.data_source_id = a.data_source_id and w.reason = a.reason)
          -- A source that is syncing again has not succeeded yet.
          and not exists (select from public.source_status t where t.organization_id = a.organization_id
                            and t.data_source_id = a.data_source_id and t.status = 'running' and a.reason <> 'late')
        returning a.organization_id, a.id
    ), new as (
        insert into public.operator_alerts (organization_id, data_source_id, failures, reason, message, what_to_do)
        select w.organization_id, w.data_source_id, w.failures, w.reason, w.message, w.what_to_do
        from wrong w
        on conflict (organization_id, data_source_id, reason) where resolved_at is null do nothing
        returning organization_id, id
    ), told as (
        insert into public.operator_notices (organization_id, alert_id, state, channel)
        select c.organization_id, c.id, c.state, n.channel
        from (select n.organization_id, n.id, 'open' as state from new n
              union all select m.organization_id, m.id, 'resolved' from mended m) c
        cross join unnest(channels) as n (channel)
        -- What was never told of as open is not told of as resolved, on a channel that came later.
        where c.state = 'open' or exists (
            select from public.operator_notices b
            where b.organization_id = c.organization_id and b.alert_id = c.id and b.channel = n.channel and b.state = 'open')
    )
    select (select count(*) from new), (select count(*) from mended);
end $$;

-- Takes up to most notices of a channel that are due, oldest first, and puts off their next turn (a minute, doubled with each
-- attempt, at most an hour): a sender that dies before it says what came of it leaves them due again. Resolved ones wait for
-- the notice that the alert was opened.
create or replace function private.claim_operator_notices(to_channel text, most integer)
returns table (organization_id uuid, alert_id uuid, state text, organization text, source_type text, source_name text, reason text,
               message text, what_to_do text, opened_at timestamptz, resolved_at timestamptz, attempts integer)
language sql set search_path = '' as $$
    with due as (
        select n.organization_id, n.alert_id, n.state
        from public.operator_notices n
        where n.channel = to_channel and n.delivered_at is null and n.next_attempt_at <= now()
          and (n.state = 'open' or exists (
              select from public.operator_notices b
              where b.organization_id = n.organization_id and b.alert_id = n.alert_id and b.channel = to_channel
                and b.state = 'open' and b.delivered_at is not null))
        order by n.next_attempt_at, n.organization_id, n.alert_id
        limit most
        for update of n skip locked
    ), taken as (
        update public.operator_notices n
        set attempts = n.attempts + 1, next_attempt_at = now() + least(interval '1 minute' * power(2, least(n.attempts, 6)), interval '1 hour')
        from due d
        where n.organization_id = d.organization_id and n.alert_id = d.alert_id and n.state = d.state and n.channel = to_channel
        returning n.organization_id, n.alert_id, n.state, n.attempts
    )
    select t.organization_id, t.alert_id, t.state, o.slug, s.source_type::text, s.source_name::text, a.reason, a.message, a.what_to_do,
           a.opened_at, a.resolved_at, t.attempts
    from taken t
    join public.operator_alerts a on a.organization_id = t.organization_id and a.id = t.alert_id
    join public.organizations o on o.id = t.organization_id
    left join public.data_sources s on s.organization_id = a.organization_id and s.id = a.data_source_id
    order by a.opened_at, o.slug, t.alert_id, t.state
$$;

-- What came of telling: delivered, or why not. Returns how many notices that are.
create or replace function private.note_operator_notices(
    to_channel text, organization_ids uuid[], alert_ids uuid[], states text[], problem text) returns bigint
language sql set search_path = '' as $$
    with noted as (
        update public.operator_notices n
        set delivered_at = case when problem is null then now() end, error = problem
        from unnest(organization_ids, alert_ids, states) as t (organization_id, alert_id, state)
        where n.organization_id = t.organization_id and n.alert_id = t.alert_id and n.state = t.state and n.channel = to_channel and n.delivered_at is null
        returning 1
    )
    select count(*) from noted
$$;
