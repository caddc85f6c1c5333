-- Which events lead actors from step to step of the funnels of pg_temp.due_funnels.

-- At one instant several events of an actor may happen, and one event never serves two steps. masks: the steps that each of
-- them matches, as bits. Returns the step that is reached at that instant by who has reached from_step before it.
-- Steps are given events along augmenting paths (Kuhn's bipartite matching): a step that finds none ends the way.
create or replace function private.steps_at_once(masks integer[], from_step integer, last_step integer) returns integer
language plpgsql immutable parallel safe set search_path = '' as $$
declare
    owner integer[] := array_fill(0, array[cardinality(masks)]);
    came_from integer[];
    asking integer[];
    free_event integer;
    former integer;
    number integer;
begin
    for step in from_step + 1 .. last_step loop
        came_from := array_fill(0, array[cardinality(masks)]);
        asking := array[step];
        free_event := 0;
        number := 1;
        while number <= cardinality(asking) and free_event = 0 loop
            for event in 1 .. cardinality(masks) loop
                continue when came_from[event] > 0 or masks[event] & (1 << (asking[number] - 1)) = 0;
                came_from[event] := asking[number];
                if owner[event] = 0 then
                    free_event := event;
                    exit;
                end if;
                asking := asking || owner[event];
            end loop;
            number := number + 1;
        end loop;
        if free_event = 0 then
            return step - 1;
        end if;
        while free_event > 0 loop
            former := coalesce(array_position(owner, came_from[free_event]), 0);
            owner[free_event] := came_from[free_event];
            free_event := former;
        end loop;
    end loop;
    return last_step;
end $$;

-- Which time is how far ahead of UTC in these zones, from the first instant to the last. One row a zone and period: a year of
-- clocks that change has three. (Clocks change on whole minutes, and not twice between two midnights of UTC.)
create or replace function private.zone_offsets(time_zones text[], from_time timestamptz, to_time timestamptz)
returns table (time_zone text, valid_from timestamptz, valid_to timestamptz, ahead interval)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    with samples as materialized (
        select z.name, d.at, (d.at at time zone z.name) - (d.at at time zone 'UTC') as ahead
        from unnest(time_zones) as z (name)
        cross join generate_series(date_trunc('day', from_time), to_time + interval '1 day', interval '1 day') as d (at)
    ), changes as (
        select s.name, (
                   select min(m.at) from generate_series(s.at, s.at + interval '1 day', interval '1 minute') as m (at)
                   where (m.at at time zone s.name) - (m.at at time zone 'UTC') <> s.ahead
               ) as at, s.next_ahead as ahead
        from (select x.*, lead(x.ahead) over (partition by x.name order by x.at) as next_ahead from samples x) s
        where s.next_ahead <> s.ahead
        union all
        select x.name, '-infinity', (array_agg(x.ahead order by x.at))[1] from samples x group by 1
    )
    select c.name, c.at, lead(c.at, 1, 'infinity') over (partition by c.name order by c.at), c.ahead from changes c
$$;

-- Fills pg_temp.funnel_moves, pg_temp.funnel_leads and pg_temp.funnel_jumps.
--
-- Where every event matches at most one step, a move is such an event. Else the events of one instant are looked at together:
-- a lead is an instant that leads to the step from the one before, a walk goes on strictly after it, and a jump says that it
-- leads further than one step. day: of moves and leads to the first step, the local date's midnight as if in UTC.
--
-- (actor: 64 bits of hash that stand for visitor and session; as texts they made sorting three times as dear. It is compared
-- within one funnel only: of a million actors two are taken for one with a probability of 3 in 100 million. The steps come as
-- an array: parallel workers cannot read a temporary table. No merge join and cheap operators, as an array has no statistics:
-- all events were sorted, or hashed, to meet a few steps.)
create or replace function private.find_funnel_moves() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off
set enable_nestloop = off set enable_mergejoin = off set cpu_operator_cost = 0.0001 set work_mem = '128MB'
set max_parallel_workers_per_gather = 0 set effective_io_concurrency = 0 set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    organization_ids uuid[] := (select array_agg(distinct f.organization_id) from pg_temp.due_funnels f);
    first_instant timestamptz := (select min(f.scan_from) from pg_temp.due_funnels f);
    last_instant timestamptz := (select max(f.scan_to) from pg_temp.due_funnels f);
    plain_steps private.funnel_step[];
    plain_events text[];
    -- Whole partitions are read then, and the steps' join leaves other organisations out: asking twice costs a tenth.
    is_wide boolean := last_instant - first_instant > interval '40 days'
        and cardinality(organization_ids) * 2 > (select count(*) from public.organizations);
    other_steps private.funnel_step[];
begin
    drop table if exists pg_temp.funnel_moves, pg_temp.funnel_leads, pg_temp.funnel_jumps, pg_temp.funnel_hits,
        pg_temp.funnel_instants;
    select coalesce(array_agg(x.s order by s) filter (where x.is_plain), '{}'),
           coalesce(array_agg(x.s order by s) filter (where not x.is_plain), '{}')
    into plain_steps, other_steps
    from (
        select row(f.funnel_no, t.number, f.organization_id, t.step ->> 'event', t.step ->> 'type',
                   replace(replace(replace(replace(t.step ->> 'page', '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'),
                   nullif(t.step -> 'properties', '{}'), greatest(f.scan_from, z.valid_from),
                   case when t.number = 1 then least(f.entries_to, z.valid_to) else f.scan_to end, z.ahead, f.unit = 'user',
                   f.shares_events
               )::private.funnel_step as s,
               not f.shares_events and t.step ? 'event' and not t.step ? 'page'
                   and coalesce(t.step -> 'properties', '{}') = '{}' as is_plain
        from pg_temp.due_funnels f
        cross join lateral jsonb_array_elements(f.steps) with ordinality as t (step, number)
        -- Zones' rules, event by event, cost as much as all else that is done to read it.
        left join private.zone_offsets((select array_agg(distinct d.time_zone) from pg_temp.due_funnels d),
                                       first_instant, last_instant) z
            on t.number = 1 and z.time_zone = f.time_zone and z.valid_from < f.entries_to and z.valid_to > f.scan_from
    ) x;

    plain_events := (select array_agg(distinct s.event) from unnest(plain_steps) s);

    -- Most steps ask for no more than an event: no page and no properties are read for them.
    create temp table funnel_moves on commit drop as
    select case when s.by_user and e.user_id is not null then hashtextextended(e.visitor_id, s.funnel_no)
                else hashtextextended(e.session_id, hashtextextended(e.visitor_id, s.funnel_no)) end as actor,
           e."timestamp" as at, date_bin('1 day', e."timestamp" + s.ahead, '2000-01-01') as day, s.funnel_no, s.step
    from public.event_tracking e
    join unnest(plain_steps) s on s.organization_id = e.organization_id and s.event = e.event_name
    where cardinality(plain_steps) > 0 and e.event_name = any (plain_events) and (is_wide or e.organization_id = any (organization_ids))
      and e."timestamp" >= first_instant and e."timestamp" < last_instant
      and e."timestamp" >= s.scan_from and e."timestamp" < s.scan_to
      and (s.event_type is null or s.event_type = e.event_type);

    create temp table funnel_leads (actor bigint, at timestamptz, funnel_no integer, day timestamptz, step integer) on commit drop;
    create temp table funnel_jumps (actor bigint, at timestamptz, funnel_no integer, from_step integer, to_step integer)
        on commit drop;
    if cardinality(other_steps) = 0 then
        return;
    end if;

    create temp table funnel_hits on commit drop as
    select case when s.by_user and e.user_id is not null then hashtextextended(e.visitor_id, s.funnel_no)
                else hashtextextended(e.session_id, hashtextextended(e.visitor_id, s.funnel_no)) end as actor,
           e."timestamp" as at, s.funnel_no, date_bin('1 day', e."timestamp" + s.ahead, '2000-01-01') as day, s.step, e.id,
           s.shares_events
    from public.event_tracking e
    join unnest(other_steps) s on s.organization_id = e.organization_id
    where e.organization_id = any (organization_ids) and e."timestamp" >= first_instant and e."timestamp" < last_instant
      and e."timestamp" >= s.scan_from and e."timestamp" < s.scan_to
      and (s.event is null or s.event = e.event_name)
      and (s.event_type is null or s.event_type = e.event_type)
      -- The whole address, or its path.
      and (s.page is null or e.page_url like s.page
           or coalesce(nullif(regexp_replace(split_part(split_part(e.page_url, '#', 1), '?', 1),
                                             '^[A-Za-z][A-Za-z0-9+.-]*://[^/]*', ''), ''), '/') like s.page
              and e.page_url is not null)
      and (s.properties is null or e.metadata -> 'properties' @> s.properties);

    insert into pg_temp.funnel_moves (actor, at, funnel_no, day, step)
    select h.actor, h.at, h.funnel_no, h.day, h.step
    from pg_temp.funnel_hits h
    where not h.shares_events;

    -- (More events of a kind than there are steps that they match make no difference.)
    create temp table funnel_instants on commit drop as
    select k.funnel_no, k.actor, k.at, max(k.day) as day, array_agg(k.mask order by k.mask) as masks
    from (
        select m.*, row_number() over (partition by m.funnel_no, m.actor, m.at, m.mask) as number
        from (
            select h.funnel_no, h.actor, h.at, h.id, max(h.day) as day, bit_or(1 << (h.step - 1)) as mask
            from pg_temp.funnel_hits h
            where h.shares_events
            group by 1, 2, 3, 4
        ) m
    ) k
    where k.number <= bit_count(k.mask::bit(32))
    group by 1, 2, 3;

    with kinds as materialized (
        select d.masks, f.funnel_no, from_step.n as from_step, private.steps_at_once(d.masks, from_step.n, f.last_step) as to_step
        from (select distinct i.funnel_no, i.masks from pg_temp.funnel_instants i) d
        join pg_temp.due_funnels f using (funnel_no)
        cross join lateral generate_series(0, f.last_step - 1) as from_step (n)
    ), led as (
        select i.funnel_no, i.actor, i.at, i.day, k.from_step, k.to_step
        from pg_temp.funnel_instants i
        join kinds k on k.funnel_no = i.funnel_no and k.masks = i.masks and k.to_step > k.from_step
    ), jumped as (
        insert into pg_temp.funnel_jumps (actor, at, funnel_no, from_step, to_step)
        select l.actor, l.at, l.funnel_no, l.from_step, l.to_step
        from led l
        where l.to_step > l.from_step + 1
    )
    insert into pg_temp.funnel_leads (actor, at, funnel_no, day, step)
    select l.actor, l.at, l.funnel_no, case when l.from_step = 0 then l.day end, l.from_step + 1
    from led l;
end $$;
