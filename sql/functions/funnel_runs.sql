-- How far the runs of pg_temp.due_funnels went that were entered on the dates of pg_temp.funnel_days.

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

-- Fills pg_temp.funnel_moves and pg_temp.funnel_jumps. Grain of a move: actor x step x event (or instant) that leads to the
-- step from the one before. Where every event matches at most one step, it is such an event. Else the events of one instant
-- are looked at together, a walk goes on strictly after it, and a jump says that the instant leads further than one step.
--
-- (actor_key, actor_part: 128 bits of hash that stand for funnel and actor, visitor and session: as texts they made sorting
-- three times as dear. The steps come as an array: parallel workers cannot read a temporary table. No merge join and cheap
-- operators, as an array has no statistics: all events were sorted, or hashed, to meet a few steps.)
create or replace function private.find_funnel_moves() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off
set enable_nestloop = off set enable_mergejoin = off set cpu_operator_cost = 0.0001 set work_mem = '128MB'
set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    organization_ids uuid[] := (select array_agg(distinct f.organization_id) from pg_temp.due_funnels f);
    first_instant timestamptz := (select min(f.scan_from) from pg_temp.due_funnels f);
    last_instant timestamptz := (select max(f.scan_to) from pg_temp.due_funnels f);
    plain_steps private.funnel_step[];
    other_steps private.funnel_step[];
begin
    drop table if exists pg_temp.funnel_moves, pg_temp.funnel_jumps, pg_temp.funnel_hits, pg_temp.funnel_instants;
    select coalesce(array_agg(x.s order by s) filter (where x.is_plain), '{}'),
           coalesce(array_agg(x.s order by s) filter (where not x.is_plain), '{}')
    into plain_steps, other_steps
    from (
        select row(f.funnel_no, t.number, f.organization_id, t.step ->> 'event', t.step ->> 'type',
                   replace(replace(replace(replace(t.step ->> 'page', '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'),
                   nullif(t.step -> 'properties', '{}'), f.scan_from, f.scan_to, f.time_zone, f.unit = 'user', f.shares_events
               )::private.funnel_step as s,
               not f.shares_events and t.step ? 'event' and not t.step ? 'page'
                   and coalesce(t.step -> 'properties', '{}') = '{}' as is_plain
        from pg_temp.due_funnels f
        cross join lateral jsonb_array_elements(f.steps) with ordinality as t (step, number)
    ) x;

    -- Most steps ask for no more than an event: no page and no properties are read for them.
    create temp table funnel_moves on commit drop as
    select s.funnel_no, s.step, hashtextextended(e.visitor_id, s.funnel_no) as actor_key,
           case when s.by_user and e.user_id is not null then hashtextextended(e.visitor_id, -s.funnel_no)
                else hashtextextended(e.session_id, s.funnel_no) end as actor_part,
           e."timestamp" as at, case when s.step = 1 then (e."timestamp" at time zone s.time_zone)::date end as date
    from public.event_tracking e
    join unnest(plain_steps) s on s.organization_id = e.organization_id and s.event = e.event_name
    where cardinality(plain_steps) > 0
      and e.organization_id = any (organization_ids) and e."timestamp" >= first_instant and e."timestamp" < last_instant
      and e."timestamp" >= s.scan_from and e."timestamp" < s.scan_to
      and (s.event_type is null or s.event_type = e.event_type);

    create temp table funnel_jumps (
        funnel_no integer, actor_key bigint, actor_part bigint, from_step integer, at timestamptz, to_step integer) on commit drop;
    if cardinality(other_steps) = 0 then
        return;
    end if;

    create temp table funnel_hits on commit drop as
    select s.funnel_no, s.step, hashtextextended(e.visitor_id, s.funnel_no) as actor_key,
           case when s.by_user and e.user_id is not null then hashtextextended(e.visitor_id, -s.funnel_no)
                else hashtextextended(e.session_id, s.funnel_no) end as actor_part,
           e."timestamp" as at, e.id, s.shares_events, s.time_zone
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

    insert into pg_temp.funnel_moves (funnel_no, step, actor_key, actor_part, at, date)
    select h.funnel_no, h.step, h.actor_key, h.actor_part, h.at,
           case when h.step = 1 then (h.at at time zone h.time_zone)::date end
    from pg_temp.funnel_hits h
    where not h.shares_events;

    -- (More events of a kind than there are steps that they match make no difference.)
    create temp table funnel_instants on commit drop as
    select k.funnel_no, k.actor_key, k.actor_part, k.at, k.time_zone, array_agg(k.mask order by k.mask) as masks
    from (
        select m.*, row_number() over (partition by m.funnel_no, m.actor_key, m.actor_part, m.at, m.mask) as number
        from (
            select h.funnel_no, h.actor_key, h.actor_part, h.at, h.id, h.time_zone, bit_or(1 << (h.step - 1)) as mask
            from pg_temp.funnel_hits h
            where h.shares_events
            group by 1, 2, 3, 4, 5, 6
        ) m
    ) k
    where k.number <= bit_count(k.mask::bit(32))
    group by 1, 2, 3, 4, 5;

    with kinds as materialized (
        select d.masks, f.funnel_no, from_step.n as from_step, private.steps_at_once(d.masks, from_step.n, f.last_step) as to_step
        from (select distinct i.funnel_no, i.masks from pg_temp.funnel_instants i) d
        join pg_temp.due_funnels f using (funnel_no)
        cross join lateral generate_series(0, f.last_step - 1) as from_step (n)
    ), led as (
        select i.funnel_no, i.actor_key, i.actor_part, i.at, i.time_zone, k.from_step, k.to_step
        from pg_temp.funnel_instants i
        join kinds k on k.funnel_no = i.funnel_no and k.masks = i.masks and k.to_step > k.from_step
    ), jumped as (
        insert into pg_temp.funnel_jumps (funnel_no, actor_key, actor_part, from_step, at, to_step)
        select l.funnel_no, l.actor_key, l.actor_part, l.from_step, l.at, l.to_step
        from led l
        where l.to_step > l.from_step + 1
    )
    insert into pg_temp.funnel_moves (funnel_no, step, actor_key, actor_part, at, date)
    select l.funnel_no, l.from_step + 1, l.actor_key, l.actor_part, l.at,
           case when l.from_step = 0 then (l.at at time zone l.time_zone)::date end
    from led l;
end $$;

-- Runs by how far they went. Grain: funnel x date with an entry x step; visitors: runs that reached the step.
--
-- Walkers start at the entries and go, turn by turn, to the first event of their next step: the earliest is never worse than
-- a later one. Of several that an actor entered on one date and that stand at the same place, the last entry has most of its
-- window left and goes on alone: so the walkers grow fewer, and one actor with very many events costs a sort of them.
create or replace function private.count_funnel_runs()
returns table (funnel_no integer, date date, step integer, visitors bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off
set enable_nestloop = off set enable_mergejoin = off set work_mem = '128MB' set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    this_turn integer := 0;
begin
    perform private.find_funnel_moves();
    drop table if exists pg_temp.funnel_dates, pg_temp.funnel_walkers;
    create temp table funnel_dates on commit drop as
    select f.funnel_no, d.date
    from pg_temp.due_funnels f
    join pg_temp.funnel_days d on d.organization_id = f.organization_id and d.is_kept;

    create temp table funnel_walkers on commit drop as
    select 0 as turn, m.funnel_no, coalesce(j.to_step, 1) as step, m.actor_key, m.actor_part,
           m.at + interval '1 microsecond' as at, m.at as entry, m.date
    from pg_temp.funnel_moves m
    join pg_temp.due_funnels f on f.funnel_no = m.funnel_no and f.shares_events
    join pg_temp.funnel_dates d on d.funnel_no = m.funnel_no and d.date = m.date
    left join pg_temp.funnel_jumps j
        on j.funnel_no = m.funnel_no and j.actor_key = m.actor_key and j.actor_part = m.actor_part and j.at = m.at
       and j.from_step = 0
    where m.step = 1;

    loop
        insert into pg_temp.funnel_walkers (turn, funnel_no, step, actor_key, actor_part, at, entry, date)
        select this_turn + 1, n.funnel_no, n.step, n.actor_key, n.actor_part, n.at, max(n.entry), n.date
        from (
            select x.funnel_no, coalesce(j.to_step, x.step + 1) as step, x.actor_key, x.actor_part,
                   -- One event never serves two steps: an instant that was looked at as a whole is left behind.
                   case when f.shares_events then x.next_at + interval '1 microsecond' else x.next_at end as at, x.entry, x.date
            from (
                -- The default frame takes in what happens at the same instant.
                select u.*, min(u.at) filter (where u.entry is null) over (
                           partition by u.actor_key, u.actor_part, u.step order by u.at desc) as next_at
                from (
                    select w.funnel_no, w.step, w.actor_key, w.actor_part, w.at, w.entry, w.date
                    from pg_temp.funnel_walkers w
                    where w.turn = this_turn
                    union all
                    -- The entries, as they are, of whoever comes to the second step at all.
                    select m.funnel_no, 1, m.actor_key, m.actor_part, m.at, m.at, m.date
                    from pg_temp.funnel_moves m
                    join pg_temp.due_funnels f on f.funnel_no = m.funnel_no and not f.shares_events
                    join pg_temp.funnel_dates d on d.funnel_no = m.funnel_no and d.date = m.date
                    where this_turn = 0 and m.step = 1
                      and (m.actor_key, m.actor_part) in (select s.actor_key, s.actor_part from pg_temp.funnel_moves s where s.step = 2)
                    union all
                    select m.funnel_no, m.step - 1, m.actor_key, m.actor_part, m.at, null, null
                    from pg_temp.funnel_moves m
                    join pg_temp.due_funnels f on f.funnel_no = m.funnel_no
                    where m.step > 1 and (m.step = this_turn + 2 or f.shares_events)
                ) u
            ) x
            join pg_temp.due_funnels f on f.funnel_no = x.funnel_no
            left join pg_temp.funnel_jumps j
                on j.funnel_no = x.funnel_no and j.actor_key = x.actor_key and j.actor_part = x.actor_part and j.at = x.next_at
               and j.from_step = x.step
            where x.entry is not null and x.next_at <= x.entry + f.longest
        ) n
        group by n.funnel_no, n.step, n.actor_key, n.actor_part, n.at, n.date;
        exit when not found;
        this_turn := this_turn + 1;
    end loop;

    return query
    with entered as (
        select r.funnel_no, r.date, count(*) as runs
        from (
            select distinct m.funnel_no, m.date, m.actor_key, m.actor_part
            from pg_temp.funnel_moves m
            join pg_temp.funnel_dates d on d.funnel_no = m.funnel_no and d.date = m.date
            where m.step = 1
        ) r
        group by 1, 2
    ), gone_on as (
        select r.funnel_no, r.date, r.step, count(*) as runs
        from (
            select w.funnel_no, w.date, w.actor_key, w.actor_part, max(w.step) as step
            from pg_temp.funnel_walkers w where w.step > 1 group by 1, 2, 3, 4
        ) r
        group by 1, 2, 3
    )
    select e.funnel_no, e.date, s.step,
           case when s.step = 1 then e.runs
                else coalesce(sum(g.runs) over (partition by e.funnel_no, e.date order by s.step desc), 0)::bigint end
    from entered e
    join pg_temp.due_funnels f on f.funnel_no = e.funnel_no
    cross join lateral generate_series(1, f.last_step) as s (step)
    left join gone_on g on g.funnel_no = e.funnel_no and g.date = e.date and g.step = s.step;
end $$;
