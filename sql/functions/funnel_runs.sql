-- How far the runs of pg_temp.due_funnels went that were entered on the dates of pg_temp.funnel_days.
--
-- Fills pg_temp.new_funnel_rows, which is what funnel_analysis should hold. Grain: funnel x date with an entry x step;
-- visitors: runs that reached the step; conversions: those that went on to the next.
--
-- Walkers start at the entries and go, turn by turn, to the first event of their next step: the earliest is never worse than
-- a later one. Of several that an actor entered on one date and that stand at the same place, the last entry has most of its
-- window left and goes on alone: so the walkers grow fewer, and one actor with very many events costs a sort of them.
create or replace function private.find_funnel_runs() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off
set enable_nestloop = off set enable_mergejoin = off set work_mem = '128MB' set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    this_turn integer := 0;
begin
    perform private.find_funnel_moves();
    drop table if exists pg_temp.new_funnel_rows, pg_temp.funnel_walkers, pg_temp.funnel_followers;
    create temp table funnel_walkers (
        actor bigint, at timestamptz, entry timestamptz, funnel_no integer, day timestamptz, step integer, turn integer) on commit drop;

    -- Few of the moves lead beyond the first step, and every turn looks at those.
    create temp table funnel_followers on commit drop as
    select m.actor, m.at, m.funnel_no, m.step from pg_temp.funnel_moves m where m.step > 1;

    -- Every event is of one step at most: after the turn all walkers stand at the same step.
    loop
        insert into pg_temp.funnel_walkers (actor, at, entry, funnel_no, day, step, turn)
        select n.actor, n.next_at, max(n.entry), n.funnel_no, n.day, this_turn + 2, this_turn + 1
        from (
            -- The default frame takes in what happens at the same instant.
            select u.*, min(u.at) filter (where u.entry is null) over (partition by u.actor, u.funnel_no order by u.at desc) as next_at
            from (
                select w.actor, w.at, w.entry, w.funnel_no, w.day
                from pg_temp.funnel_walkers w
                where this_turn > 0 and w.turn = this_turn
                union all
                -- The entries, of whoever comes to the second step after them.
                select m.actor, m.at, m.at, m.funnel_no, m.day
                from pg_temp.funnel_moves m
                join (
                    select s.actor, s.funnel_no, max(s.at) as last_at from pg_temp.funnel_followers s where s.step = 2 group by 1, 2
                ) l on l.actor = m.actor and l.funnel_no = m.funnel_no and l.last_at >= m.at
                where this_turn = 0 and m.day is not null
                union all
                select m.actor, m.at, null, m.funnel_no, null
                from pg_temp.funnel_followers m
                where m.step = this_turn + 2
            ) u
        ) n
        join pg_temp.due_funnels f on f.funnel_no = n.funnel_no
        where n.entry is not null and n.next_at <= n.entry + f.longest
        group by n.actor, n.next_at, n.funnel_no, n.day;
        exit when not found;
        this_turn := this_turn + 1;
    end loop;

    -- One event may be of several steps: an instant that was looked at as a whole is left behind.
    this_turn := this_turn + 1;
    insert into pg_temp.funnel_walkers (actor, at, entry, funnel_no, day, step, turn)
    select m.actor, m.at + interval '1 microsecond', m.at, m.funnel_no, m.day, coalesce(j.to_step, 1), this_turn
    from pg_temp.funnel_leads m
    left join pg_temp.funnel_jumps j
        on j.actor = m.actor and j.funnel_no = m.funnel_no and j.at = m.at and j.from_step = 0
    where m.step = 1;
    while found loop
        insert into pg_temp.funnel_walkers (actor, at, entry, funnel_no, day, step, turn)
        select n.actor, n.next_at + interval '1 microsecond', max(n.entry), n.funnel_no, n.day, n.to_step, this_turn + 1
        from (
            select x.*, coalesce(j.to_step, x.step + 1) as to_step
            from (
                select u.*, min(u.at) filter (where u.entry is null) over (
                           partition by u.actor, u.funnel_no, u.step order by u.at desc) as next_at
                from (
                    select w.actor, w.at, w.entry, w.funnel_no, w.day, w.step
                    from pg_temp.funnel_walkers w
                    where w.turn = this_turn
                    union all
                    select m.actor, m.at, null, m.funnel_no, null, m.step - 1
                    from pg_temp.funnel_leads m
                    where m.step > 1
                ) u
            ) x
            join pg_temp.due_funnels f on f.funnel_no = x.funnel_no
            left join pg_temp.funnel_jumps j
                on j.actor = x.actor and j.funnel_no = x.funnel_no and j.at = x.next_at and j.from_step = x.step
            where x.entry is not null and x.next_at <= x.entry + f.longest
        ) n
        group by n.actor, n.next_at, n.funnel_no, n.day, n.to_step;
        this_turn := this_turn + 1;
    end loop;

    -- Dates are put together, and in order, before there is a row for each of their steps.
    create temp table new_funnel_rows on commit drop as
    with entered as (
        -- (A funnel's entries are either moves or leads. Those with a day are taken for many, those of a step for few, which were
        -- sorted: twice the time.)
        select r.funnel_no, r.day, count(*) as runs
        from (select m.funnel_no, m.day, m.actor from pg_temp.funnel_moves m where m.day is not null group by 1, 2, 3) r
        group by 1, 2
        union all
        select r.funnel_no, r.day, count(*)
        from (select m.funnel_no, m.day, m.actor from pg_temp.funnel_leads m where m.step = 1 group by 1, 2, 3) r
        group by 1, 2
    ), reached as (
        select c.funnel_no, c.day, array_agg(c.runs order by c.step) as runs
        from (
            select r.funnel_no, r.day, s.step, count(*) as runs
            from (
                select w.funnel_no, w.day, w.actor, max(w.step) as step
                from pg_temp.funnel_walkers w where w.step > 1 group by 1, 2, 3
            ) r
            cross join lateral generate_series(2, r.step) as s (step)
            group by 1, 2, 3
        ) c
        group by 1, 2
    ), names as (
        select f.funnel_no, array_agg(left(t.step ->> 'name', 100) order by t.number) as names
        from pg_temp.due_funnels f
        cross join lateral jsonb_array_elements(f.steps) with ordinality as t (step, number)
        group by 1
    ), dates as (
        select f.organization_id, f.funnel_name, d.date, f.last_step, n.names, f.version, d.day_end + f.longest <= now() as is_final,
               e.runs || coalesce(g.runs, '{}') as reached
        from entered e
        join pg_temp.due_funnels f on f.funnel_no = e.funnel_no
        join names n on n.funnel_no = e.funnel_no
        join pg_temp.funnel_days d on d.organization_id = f.organization_id and d.bucket = e.day and d.is_kept
        left join reached g on g.funnel_no = e.funnel_no and g.day = e.day
        order by e.funnel_no, e.day
    )
    select s.organization_id, s.funnel_name, s.date, s.step, s.step_name, coalesce(s.reached[s.step], 0) as visitors,
           coalesce(s.reached[least(s.step + 1, s.last_step)], 0) as conversions, s.version, s.is_final
    from (select d.*, generate_series(1, d.last_step) as step, unnest(d.names) as step_name from dates d) s;
end $$;
