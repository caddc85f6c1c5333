-- performance_alerts of rules, for all organisations of a run at once.

-- Judges every rule of organisations of which a day of the range is open, from the eve of the first such day up to the newest
-- complete bucket: an alert is a stretch of buckets between one that fires and the next that clears, and what the tables say now is
-- what stands, in whatever order days were computed. One that later data denies is withdrawn. Both dates are included. Rows, notices
-- (one for each of told_by) and ledger change in one transaction; run twice, it changes nothing.
-- Returns one row an organisation that had work.
create or replace function private.evaluate_alerts(
    organization_ids uuid[], from_date date, to_date date, run_id uuid, told_by text[])
returns table (organization_id uuid, days bigint, alerts_opened bigint, alerts_resolved bigint, alerts_withdrawn bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
declare
    hours_kept timestamptz := (select coalesce(max(s.dropped_to), '-infinity') from private.partition_steps s where s.parent = 'hourly_facts');
    days_kept timestamptz := (select coalesce(max(s.dropped_to), '-infinity') from private.partition_steps s where s.parent = 'daily_facts');
begin
    organization_ids := private.lock_organizations('alerts', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_date::timestamp at time zone 'UTC',
                                      (to_date + 1)::timestamp at time zone 'UTC');
    drop table if exists pg_temp.alert_days, pg_temp.due_alert_rules, pg_temp.alert_changes;
    create temp table alert_days on commit drop as
    select b.organization_id, b.bucket, b.input_version
    from private.open_buckets('performance_alerts', organization_ids, from_date::timestamp at time zone 'UTC',
                              (to_date + 1)::timestamp at time zone 'UTC', '1 day') b;

    create temp table due_alert_rules on commit drop as
    select r.organization_id, r.id as rule_id, r.grain, r.kind, r.threshold, r.clear_threshold, r.confirm, r.minimum_base, r.judged_from,
           r.kind = 'above' or r.kind = 'change' and r.threshold > 0 as is_above, c.channel_id, d.time_zone, d.currency,
           coalesce(n.metric_id, m.metric_id) as numerator_id, q.metric_id as denominator_id, m.numerator_minus, m.scale,
           m.kind as metric_kind, w.window_from,
           -- Back to what the first bucket is compared with, and whether the ones before it were beyond the threshold.
           w.window_from - case when r.kind = 'goal' then interval '90 days'
               else case r.grain when 'day' then interval '6 days' else interval '7 hours' end
                    + case r.kind when 'change' then interval '7 days' else interval '0' end end as scan_from,
           coalesce((select min(coalesce(s.last_sync_at, s.created_at)) from public.data_sources s
                     where s.organization_id = r.organization_id and s.is_active and s.is_connected
                       and r.channel in (s.source_type, 'all')), 'infinity') as covered_to
    from (
        select o.id as organization_id, o.time_zone, o.currency, min(k.bucket) as first_day
        from pg_temp.alert_days k
        join public.organizations o on o.id = k.organization_id
        group by o.id
    ) d
    join public.alert_rules r on r.organization_id = d.organization_id and r.is_active
    join public.metrics m on m.metric = r.metric
    left join public.metrics n on n.metric = m.numerator
    left join public.metrics q on q.metric = m.denominator
    left join public.channels c on c.channel = r.channel
    cross join lateral (
        -- What has left by retention is judged no more.
        select case r.grain
            when 'hour' then greatest(date_trunc('hour', (d.first_day at time zone 'UTC' - interval '1 day') at time zone d.time_zone), hours_kept)
            else greatest(d.first_day - interval '2 days', days_kept) end as window_from
    ) w;
    analyze pg_temp.due_alert_rules;
    perform private.find_alert_signals();
    perform private.find_alert_changes();
    perform private.end_alerts_of_rules(r.organization_id, array_agg(r.id))
    from public.alert_rules r
    where r.organization_id in (select k.organization_id from pg_temp.alert_days k) and not r.is_active
    group by r.organization_id;

    update public.performance_alerts a
    set is_active = c.is_active, current_value = c.current_value, message = c.message, details = c.details,
        fired_bucket = c.fired_bucket, cleared_bucket = c.cleared_bucket,
        resolved_at = case when c.is_active then null else coalesce(a.resolved_at, now()) end,
        withdrawn_at = case when c.is_withdrawn then coalesce(a.withdrawn_at, now()) end,
        transitions = a.transitions + (c.state is not null)::integer, updated_at = now()
    from pg_temp.alert_changes c
    where not c.is_new and a.organization_id = c.organization_id and a.id = c.alert_id;
    insert into public.performance_alerts
        (organization_id, id, alert_type, channel, metric, current_value, threshold_value, threshold_type, message, details, is_active,
         resolved_at, rule_id, fired_bucket, cleared_bucket, transitions)
    select c.organization_id, c.alert_id, case r.kind when 'goal' then 'goal_at_risk' else 'threshold_breach' end, r.channel, r.metric,
           c.current_value, r.threshold,
           case r.kind when 'above' then 'above' when 'change' then 'percentage_change' else 'below' end, c.message, c.details, c.is_active,
           case when not c.is_active then now() end, c.rule_id, c.fired_bucket, c.cleared_bucket, 1
    from pg_temp.alert_changes c
    join public.alert_rules r on r.organization_id = c.organization_id and r.id = c.rule_id
    where c.is_new
    order by c.organization_id, c.fired_bucket, c.rule_id;

    insert into public.alert_notices (organization_id, alert_id, transition, channel, state)
    select c.organization_id, c.alert_id, a.transitions, t.channel, c.state
    from pg_temp.alert_changes c
    join public.performance_alerts a on a.organization_id = c.organization_id and a.id = c.alert_id
    cross join unnest(told_by) as t (channel)
    where c.state is not null and c.is_news
    order by 1, 2, 3, 4;

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at)
    select k.organization_id, 'performance_alerts', k.bucket, 'done', k.input_version, k.input_version,
           (select count(*) from public.performance_alerts a
            join public.organizations o on o.id = a.organization_id
            where a.organization_id = k.organization_id and a.rule_id is not null and a.withdrawn_at is null
              and case when a.details ->> 'grain' = 'day' then a.fired_bucket
                       else (a.fired_bucket at time zone o.time_zone)::date::timestamp at time zone 'UTC' end = k.bucket),
           evaluate_alerts.run_id, now()
    from pg_temp.alert_days k
    order by 1, 3
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status, computed_version = excluded.computed_version, row_count = excluded.row_count,
        run_id = excluded.run_id, computed_at = excluded.computed_at, error = null, attempts = 0, next_attempt_at = null
    -- Marked meanwhile: it stays open.
    where l.input_version = excluded.input_version;

    return query
    select k.organization_id, k.days, count(*) filter (where c.state = 'open'), count(*) filter (where c.state = 'resolved'),
           count(*) filter (where c.state = 'withdrawn')
    from (select d.organization_id, count(*) as days from pg_temp.alert_days d group by 1) k
    left join pg_temp.alert_changes c using (organization_id)
    group by k.organization_id, k.days
    order by k.organization_id;
end $$;

-- The days to which these hours (UTC) or days of organisations belong become open for alerts, where there is something to judge.
create or replace function private.mark_alert_days(organization_ids uuid[], instants timestamptz[], are_hours boolean) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    perform private.mark_stale('performance_alerts', array_agg(k.id order by k.id, k.bucket), array_agg(k.bucket order by k.id, k.bucket))
    from (
        select distinct o.id, case when are_hours then (u.at at time zone o.time_zone)::date::timestamp at time zone 'UTC' else u.at end as bucket
        from unnest(organization_ids, instants) u (id, at)
        join public.organizations o on o.id = u.id
        where exists (select from public.alert_rules r where r.organization_id = u.id)
    ) k
    having count(*) > 0;
end $$;

-- Ends the active alerts of rules that are judged no more; told where their opening was made known. Returns how many.
create or replace function private.end_alerts_of_rules(organization uuid, rule_ids uuid[]) returns bigint
language sql set search_path = '' as $$
    with ended as (
        update public.performance_alerts a
        set is_active = false, resolved_at = now(), transitions = a.transitions + 1, updated_at = now(),
            details = a.details || '{"ended": "the rule was removed or switched off"}'
        where a.organization_id = organization and a.rule_id = any (rule_ids) and a.is_active
        returning a.organization_id, a.id, a.transitions
    ), told as (
        insert into public.alert_notices (organization_id, alert_id, transition, channel, state)
        select distinct e.organization_id, e.id, e.transitions, n.channel, 'resolved'
        from ended e
        join public.alert_notices n on n.organization_id = e.organization_id and n.alert_id = e.id
    )
    select count(*) from ended
$$;
