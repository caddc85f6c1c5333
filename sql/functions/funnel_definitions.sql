-- Funnels' definitions: stored in versions, removed, and what has to be computed anew then.

-- Whether one event may match several steps. Two steps are apart where both ask for an event and for different ones, or
-- both for a type and for different ones; any other pair may overlap, be it by filters of the same event.
create or replace function private.steps_overlap(steps jsonb) returns boolean
language sql immutable parallel safe set search_path = '' as $$
    select exists (
        select from jsonb_array_elements(steps) with ordinality as a (step, number)
        join jsonb_array_elements(steps) with ordinality as b (step, number) on b.number > a.number
        where coalesce(a.step ->> 'event' = b.step ->> 'event', true) and coalesce(a.step ->> 'type' = b.step ->> 'type', true)
    )
$$;

-- From this instant on all events are there, as far as there were any.
create or replace function private.events_kept_from() returns timestamptz
language sql stable set search_path = '' as $$
    select coalesce(max(s.dropped_to), '-infinity') from private.partition_steps s where s.parent = 'event_tracking'
$$;

-- The same for one organisation, which may keep its events for less time.
create or replace function private.events_kept_of(organization uuid) returns timestamptz
language sql stable set search_path = '' as $$
    select greatest(private.events_kept_from(), (select r.removed_to from public.organization_retention r
                                                 where r.organization_id = organization and r.layer = 'events'))
$$;

-- Marks every day of an organisation that can still be computed from its events. Returns how many, and the first.
create or replace function private.mark_funnel_history(organization uuid, out marked bigint, out first_day date)
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    select private.mark_stale('funnel_analysis', array_agg(organization), array_agg(d.day at time zone 'UTC')), min(d.day)::date
    into marked, first_day
    from public.organizations o
    cross join lateral (
        select least((select min(e."timestamp") from public.event_tracking e where e.organization_id = o.id) at time zone o.time_zone,
                     (select min(f.date) from public.funnel_analysis f where f.organization_id = o.id))::date as date
    ) s
    cross join lateral generate_series(s.date::timestamp, now() at time zone o.time_zone, interval '1 day') as d (day)
    where o.id = organization and d.day at time zone o.time_zone >= private.events_kept_of(o.id);
end $$;

-- Adds a funnel, or changes it: another window, unit or steps make a new version, and its history is computed anew.
-- change: added, changed, restored (it had been removed), unchanged.
create or replace function private.store_funnel(
    organization uuid, name text, seconds integer, actor_unit text, wanted jsonb,
    out version integer, out change text, out marked bigint, out first_day date)
language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
    known public.funnels;
begin
    perform private.lock_organizations('funnels', array[organization]);
    select * into known from public.funnels f where f.organization_id = organization and f.funnel_name = name for update;
    change := case when known.organization_id is null then 'added'
                   when (known.window_seconds, known.unit, known.steps) is distinct from (seconds, actor_unit, wanted) then 'changed'
                   when not known.is_active then 'restored' else 'unchanged' end;
    if change = 'unchanged' then
        version := known.version;
        marked := 0;
        return;
    end if;
    insert into public.funnels as f (organization_id, funnel_name, window_seconds, unit, steps)
    values (organization, name, seconds, actor_unit, wanted)
    on conflict (organization_id, funnel_name) do update
    set window_seconds = excluded.window_seconds, unit = excluded.unit, steps = excluded.steps, is_active = true, updated_at = now(),
        version = f.version + (store_funnel.change = 'changed')::integer
    returning f.version into version;
    select m.marked, m.first_day into marked, first_day from private.mark_funnel_history(organization) m;
end $$;

-- Counts a funnel no more. Days that can still be computed lose its rows; older ones keep them. Null: there is none.
create or replace function private.remove_funnel(organization uuid, name text, out marked bigint)
language plpgsql set search_path = '' as $$
begin
    perform private.lock_organizations('funnels', array[organization]);
    update public.funnels f set is_active = false, updated_at = now()
    where f.organization_id = organization and f.funnel_name = name and f.is_active;
    if found then
        select coalesce(m.marked, 0) into marked from private.mark_funnel_history(organization) m;
    end if;
end $$;

-- A day becomes final when its window has passed, also when no event comes any more: such days are marked, once.
create or replace function private.mark_final_funnels(from_time timestamptz, to_time timestamptz) returns bigint
language sql set search_path = '' set timezone = 'UTC' as $$
    select coalesce(private.mark_stale_apart('funnel_analysis', array_agg(d.organization_id), array_agg(d.bucket)), 0)
    from (
        select distinct a.organization_id, a.date::timestamp at time zone 'UTC' as bucket
        from public.funnel_analysis a
        join public.organizations o on o.id = a.organization_id and o.is_active
        join public.funnels f on f.organization_id = a.organization_id and f.funnel_name = a.funnel_name and f.is_active
        where not a.is_final and a.date >= (from_time at time zone 'UTC')::date and a.date < (to_time at time zone 'UTC')::date
          and (a.date + 1)::timestamp at time zone o.time_zone + f.window_seconds * interval '1 second' <= now()
          and a.date::timestamp at time zone o.time_zone >= private.events_kept_of(o.id)
    ) d
    join public.partition_ledger l
        on l.organization_id = d.organization_id and l.asset = 'funnel_analysis' and l.bucket = d.bucket and l.status = 'done'
$$;
