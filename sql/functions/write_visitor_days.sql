-- Visitors' days of the events of these hours. Returns the days that were new to somebody.
create or replace function private.write_visitor_days(organization_ids uuid[], from_time timestamptz, to_time timestamptz)
returns table (organization_id uuid, date date)
language plpgsql set search_path = '' set timezone = 'UTC' set plan_cache_mode = force_custom_plan set jit = off as $$
#variable_conflict use_column
begin
    return query
    with seen as (
        select distinct e.organization_id, (e."timestamp" at time zone g.time_zone)::date as date, e.visitor_id
        from public.event_tracking e
        join public.organizations g on g.id = e.organization_id
        where e.organization_id = any (organization_ids) and e."timestamp" >= from_time and e."timestamp" < to_time + interval '1 hour'
    ), stored as (
        insert into public.visitor_days as d (organization_id, date, visitor_id)
        select s.organization_id, s.date, s.visitor_id
        from seen s
        where not exists (
            select from public.visitor_days d
            where d.organization_id = s.organization_id and d.date = s.date and d.visitor_id = s.visitor_id
              and d.date >= (from_time - interval '13 hours')::date and d.date <= (to_time + interval '15 hours')::date)
        order by 1, 2, 3
        on conflict do nothing
        returning d.organization_id, d.date
    )
    select distinct s.organization_id, s.date from stored s;
end $$;

-- Visitors' days whose events moved to another visitor move with them, where they were counted.
create or replace function private.move_visitor_days() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    if not exists (select from pg_temp.event_moved_days) then
        return;
    end if;
    perform private.lock_organizations('event_days', array(select distinct m.organization_id from pg_temp.event_moved_days m));
    perform private.ensure_partitions('visitor_days', m.month, m.month + interval '1 microsecond')
    from (select distinct date_trunc('month', d.date::timestamp) at time zone 'UTC' as month from pg_temp.event_moved_days d order by 1) m;
    insert into public.visitor_days (organization_id, date, visitor_id)
    select distinct m.organization_id, m.date, m.visitor_id
    from pg_temp.event_moved_days m
    join public.visitor_days d on d.organization_id = m.organization_id and d.date = m.date and d.visitor_id = m.old_visitor_id
    on conflict do nothing;
    delete from public.visitor_days d
    using pg_temp.event_moved_days m
    join public.organizations g on g.id = m.organization_id
    where d.organization_id = m.organization_id and d.date = m.date and d.visitor_id = m.old_visitor_id
      and not exists (
          select from public.event_tracking e
          where e.organization_id = m.organization_id and e.visitor_id = m.old_visitor_id
            and e."timestamp" >= m.date::timestamp at time zone g.time_zone
            and e."timestamp" < (m.date + 1)::timestamp at time zone g.time_zone);
end $$;

create or replace function private.mark_moved_days() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    ids uuid[];
    dates date[];
begin
    select array_agg(d.organization_id order by d.organization_id, d.date), array_agg(d.date order by d.organization_id, d.date)
    into ids, dates
    from (select distinct m.organization_id, m.date from pg_temp.event_moved_days m) d;
    perform private.mark_stale('daily_aggregates', array_agg(k.id), array_agg(k.date::timestamp at time zone 'UTC'))
    from unnest(ids, dates) k (id, date)
    having count(*) > 0;
    perform private.mark_event_dependents(ids, dates);
end $$;
