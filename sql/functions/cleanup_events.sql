-- The end of retention of tracked events: whole months of events, with their sessions and with what tells that a message is
-- known. A month stays as long as an hour of it is not summed up, or a day of it not rolled up. Visitors' days are kept 1,150
-- days at least, however short the events' retention: cohorts need three years. Returns every partition that is past its
-- time, and why it stays where it does.
create or replace function public.cleanup_events(keep_from timestamptz)
returns table (partition text, dropped boolean, reason text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set jit = off as $$
declare
    part record;
    days_from timestamptz := least(keep_from, now() - interval '1150 days');
    open_hours bigint;
    open_days bigint;
    example text;
begin
    for part in select * from private.list_partitions('event_tracking') l where l.period_end <= keep_from loop
        partition := part.child;
        execute format($q$
            with hours as materialized (
                select distinct q.organization_id, private.local_hour(q.quarter, g.time_zone) as hour, g.slug, g.time_zone
                from (
                    select distinct e.organization_id, date_bin('15 minutes', e."timestamp", timestamptz '2000-01-01 00:00+00') as quarter
                    from partitions.%I e
                ) q
                join public.organizations g on g.id = q.organization_id
            ), hours_open as (
                select h.slug, h.hour
                from hours h
                left join public.partition_ledger l
                    on l.organization_id = h.organization_id and l.asset = 'event_tracking' and l.bucket = date_trunc('hour', h.hour)
                where l.status is distinct from 'done'
            ), days_open as (
                -- Days that are past their own retention were rolled up.
                select d.slug, d.date
                from (select distinct h.organization_id, h.slug, (h.hour at time zone h.time_zone)::date as date from hours h) d
                left join public.partition_ledger l
                    on l.organization_id = d.organization_id and l.asset = 'daily_aggregates'
                   and l.bucket = d.date::timestamp at time zone 'UTC'
                where case when l.status is null
                      then private.partition_exists(private.partition_name('daily_facts', 'month', date_trunc('month', d.date::timestamp)))
                      else l.status <> 'done' end
            )
            select (select count(*) from hours_open), (select count(*) from days_open),
                   coalesce((select min(o.slug || ' ' || to_char(o.hour, 'YYYY-MM-DD HH24:MI')) from hours_open o),
                            (select min(o.slug || ' ' || o.date) from days_open o)) $q$, part.child)
        into open_hours, open_days, example;
        dropped := open_hours = 0 and open_days = 0;
        if dropped then
            execute format($q$
                delete from public.event_messages m using partitions.%I e
                where m.organization_id = e.organization_id and m.id = e.id $q$, part.child);
            perform private.drop_partition(part.child);
            delete from public.partition_ledger l
            where l.asset = 'event_tracking' and l.bucket >= part.period_start and l.bucket < part.period_end;
            reason := null;
        else
            reason := case when open_hours > 0
                then format('%s hours are not summed up, e.g. %s UTC: backfill event_tracking over them', open_hours, example)
                else format('%s days are not rolled up, e.g. %s: backfill daily_aggregates over them', open_days, example) end;
        end if;
        return next;
    end loop;
    -- Sessions leave with the events among which they began.
    for part in
        select l.* from private.list_partitions('visitor_sessions') l
        where l.period_end <= keep_from
          and not private.partition_exists(private.partition_name('event_tracking', 'month', l.period_start at time zone 'UTC'))
        union all
        select l.* from private.list_partitions('visitor_days') l where l.period_end <= days_from
    loop
        partition := part.child;
        perform private.drop_partition(part.child);
        dropped := true;
        reason := null;
        return next;
    end loop;
end $$;

-- The live sessions' own end, every few minutes: those without activity for 30 minutes are closed, and an hour's partition
-- goes when no session in it was active in the last 24 hours. Waits for nobody: a session that is just being written is left
-- for the next time, and so is a partition while the table is busy.
create or replace function private.close_live_sessions() returns table (closed bigint, dropped bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set lock_timeout = '2s' set jit = off as $$
declare
    part record;
    in_use boolean;
    keep_from timestamptz := now() - interval '24 hours';
begin
    with idle as materialized (
        select s.organization_id, s.visitor_id, s.session_id, s.started_at
        from public.live_sessions s
        where s.is_active and s.last_activity <= now() - interval '30 minutes'
        for no key update skip locked
    )
    update public.live_sessions s set is_active = false
    from idle i
    where s.organization_id = i.organization_id and s.visitor_id = i.visitor_id and s.session_id = i.session_id
      and s.started_at = i.started_at and s.is_active;
    get diagnostics closed = row_count;
    dropped := 0;
    for part in select * from private.list_partitions('live_sessions') l where l.period_end <= keep_from loop
        execute format('select exists (select from partitions.%I s where s.last_activity > $1)', part.child) into in_use using keep_from;
        continue when in_use;
        begin
            -- The parent first, as whoever writes does; and looked at again, since nobody can write now.
            lock table public.live_sessions in access exclusive mode;
            execute format('select exists (select from partitions.%I s where s.last_activity > $1)', part.child) into in_use using keep_from;
            if not in_use then
                execute format('drop table partitions.%I', part.child);
                dropped := dropped + 1;
            end if;
        exception when lock_not_available then
            exit;
        end;
    end loop;
    return next;
end $$;
