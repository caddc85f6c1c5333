-- On which days of a week and of a month known users came. Called by public.aggregate_cohorts.

-- pg_temp.cohort_visitors: visits of known users on the days in scope.
create or replace function private.read_cohort_visits() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_visitors on commit drop as
    select s.organization_id, d.date, ('user:' || v.user_id) collate "C" as member, v.first_seen_at, v.signed_up_at, v.email_hash
    from pg_temp.cohort_scope s
    join public.visitor_days d
        on d.organization_id = s.organization_id and d.date >= s.from_date and d.date <= s.to_date
    join public.visitors v
        on v.organization_id = d.organization_id and v.visitor_id = d.visitor_id and v.user_id is not null
    where not exists (select from pg_temp.cohort_blocked b where b.organization_id = d.organization_id and b.date = d.date);
    analyze pg_temp.cohort_visitors (organization_id, member);
end $$;

-- What differs from public.cohort_visits, into pg_temp.cohort_visit_changes (days null: there is no row yet). Only the bits of
-- the days in scope are compared and set.
create or replace function private.compare_cohort_visits() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_masks on commit drop as
    select s.organization_id, t.period_type, p.period_start, bit_or(1 << (d.at::date - p.period_start)) as mask
    from pg_temp.cohort_scope s
    cross join pg_temp.cohort_period_types t
    cross join lateral generate_series(s.from_date::timestamp, s.to_date::timestamp, interval '1 day') as d (at)
    cross join lateral (select date_trunc(t.period_type, d.at)::date as period_start) p
    where d.at::date >= (select private.kept_from('visitor_days'))
      and not exists (select from pg_temp.cohort_blocked b where b.organization_id = s.organization_id and b.date = d.at::date)
    group by 1, 2, 3;

    create temp table cohort_visit_days on commit drop as
    select v.organization_id, t.period_type, p.period_start, v.member, bit_or(1 << (v.date - p.period_start)) as days
    from pg_temp.cohort_visitors v
    cross join pg_temp.cohort_period_types t
    cross join lateral (select date_trunc(t.period_type, v.date::timestamp)::date as period_start) p
    group by 1, 2, 3, 4;
    analyze pg_temp.cohort_visit_days (organization_id, period_type, period_start);

    -- Who no longer came in a week; a month is looked at only for those.
    create temp table cohort_gone on commit drop as
    select v.organization_id, v.period_type, v.period_start, v.member, m.mask, v.days, v.ctid as at
    from pg_temp.cohort_masks m
    join public.cohort_visits v
        on v.organization_id = m.organization_id and v.period_type = m.period_type and v.period_start = m.period_start
    where m.period_type = 'week' and v.days & m.mask <> 0
      and not exists (
          select from pg_temp.cohort_visit_days n
          where n.organization_id = v.organization_id and n.period_type = v.period_type and n.period_start = v.period_start
            and n.member = v.member);

    create temp table cohort_visit_changes on commit drop as
    select n.organization_id, n.period_type, n.period_start, n.member, m.mask, n.days as new_days, v.days, v.ctid as at
    from pg_temp.cohort_visit_days n
    join pg_temp.cohort_masks m using (organization_id, period_type, period_start)
    left join public.cohort_visits v
        on v.organization_id = n.organization_id and v.period_type = n.period_type and v.period_start = n.period_start
       and v.member = n.member
    where n.days <> coalesce(v.days & m.mask, 0)
    union all
    select g.organization_id, g.period_type, g.period_start, g.member, g.mask, 0, g.days, g.at from pg_temp.cohort_gone g
    union all
    select v.organization_id, v.period_type, v.period_start, v.member, m.mask, 0, v.days, v.ctid
    from (select distinct organization_id, member from pg_temp.cohort_gone) g
    join pg_temp.cohort_masks m on m.organization_id = g.organization_id and m.period_type = 'month'
      -- (On most days nobody: the month's rows are not read for that.)
      and exists (select from pg_temp.cohort_gone)
    join public.cohort_visits v
        on v.organization_id = m.organization_id and v.period_type = m.period_type and v.period_start = m.period_start
       and v.member = g.member
    where v.days & m.mask <> 0
      and not exists (
          select from pg_temp.cohort_visit_days n
          where n.organization_id = v.organization_id and n.period_type = v.period_type and n.period_start = v.period_start
            and n.member = v.member);
end $$;

-- (The cohorts of a row are functions of it and of the user's anchor, whichever of both comes first.)
create or replace function private.store_cohort_visits() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    -- How many more (or less) of each cohort came in a period. (Where a user's cohort changes, both are counted anew.)
    create temp table cohort_visit_deltas (
        organization_id uuid, period_type text, period_start date, signup_cohort date, visit_cohort date, users bigint
    ) on commit drop;
    with gone as (
        delete from public.cohort_visits v
        using pg_temp.cohort_visit_changes c
        where c.days is not null and c.new_days = 0 and c.days & ~c.mask = 0 and v.ctid = c.at
        returning v.*
    )
    insert into pg_temp.cohort_visit_deltas
    select g.organization_id, g.period_type, g.period_start, g.signup_cohort, g.visit_cohort, -count(*)
    from gone g group by 1, 2, 3, 4, 5;
    -- (By the place of the row, which nobody else moves in the organisations' turn: their keys have been looked up already.)
    update public.cohort_visits v set days = c.days & ~c.mask | c.new_days
    from pg_temp.cohort_visit_changes c
    where c.days & ~c.mask | c.new_days <> 0 and v.ctid = c.at;

    -- Users who moved: their rows from the earlier of both cohorts on. None that are not there yet, so that a first
    -- computation does not look for the past of everybody.
    create temp table cohort_moves on commit drop as
    with last as materialized (
        select s.organization_id, t.period_type, l.period_start
        from pg_temp.cohort_scope s
        cross join pg_temp.cohort_period_types t
        cross join lateral (
            select v.period_start from public.cohort_visits v
            where v.organization_id = s.organization_id and v.period_type = t.period_type
            order by v.period_start desc limit 1
        ) l
    )
    select c.organization_id, l.period_type, p.at::date as period_start, c.member,
           max(date_trunc(l.period_type, c.new_date::timestamp)::date) filter (where c.cohort_type = 'signup') as signup_cohort,
           max(date_trunc(l.period_type, c.new_date::timestamp)::date) filter (where c.cohort_type = 'first_visit') as visit_cohort,
           bool_or(c.cohort_type = 'signup') as moves_signup, bool_or(c.cohort_type = 'first_visit') as moves_visit
    from pg_temp.cohort_anchor_changes c
    join last l using (organization_id)
    cross join lateral generate_series(date_trunc(l.period_type, least(c.old_date, c.new_date)::timestamp), l.period_start::timestamp,
                                       ('1 ' || l.period_type)::interval) as p (at)
    where c.cohort_type in ('signup', 'first_visit') and c.member like 'user:%'
    group by 1, 2, 3, 4;
    update public.cohort_visits v
    set signup_cohort = case when not m.moves_signup then v.signup_cohort
                             when m.signup_cohort <= v.period_start then m.signup_cohort end,
        visit_cohort = case when not m.moves_visit then v.visit_cohort
                            when m.visit_cohort <= v.period_start then m.visit_cohort end
    from pg_temp.cohort_moves m
    where v.organization_id = m.organization_id and v.period_type = m.period_type and v.period_start = m.period_start
      and v.member = m.member
      and (m.moves_signup and v.signup_cohort is distinct from case when m.signup_cohort <= v.period_start then m.signup_cohort end
           or m.moves_visit and v.visit_cohort is distinct from case when m.visit_cohort <= v.period_start then m.visit_cohort end);
    -- (Last: the moves above would look at each new row again.)
    with added as (
        insert into public.cohort_visits (organization_id, period_type, period_start, member, days, signup_cohort, visit_cohort)
        select c.organization_id, c.period_type, c.period_start, c.member, c.new_days,
               case when a.signed_up < e.period_end then date_trunc(c.period_type, a.signed_up::timestamp)::date end,
               case when a.first_came < e.period_end then date_trunc(c.period_type, a.first_came::timestamp)::date end
        from (
            select n.organization_id, n.member, n.period_type, n.period_start, n.new_days
            from pg_temp.cohort_visit_changes n where n.days is null
        ) c
        left join lateral (
            select min(m.anchor_date) filter (where m.cohort_type = 'signup') as signed_up,
                   min(m.anchor_date) filter (where m.cohort_type = 'first_visit') as first_came
            from public.cohort_members m where m.organization_id = c.organization_id and m.member = c.member
        ) a on true
        cross join lateral (select (c.period_start + ('1 ' || c.period_type)::interval)::date as period_end) e
        order by 1, 2, 3, 4
        returning *
    )
    insert into pg_temp.cohort_visit_deltas
    select g.organization_id, g.period_type, g.period_start, g.signup_cohort, g.visit_cohort, count(*)
    from added g group by 1, 2, 3, 4, 5;
end $$;
