-- public.cohort_analysis from members, visits and orders. Called by public.aggregate_cohorts.
--
-- Counted anew, and not by adding differences up, are: the periods of the days in scope (all cohorts' rows of that week and
-- month: a diagonal), the periods that have begun or ended since the last computation, and every row of each cohort that
-- begins in those periods or that a member has joined or left. So a day computed again also mends what was damaged there.

-- pg_temp.cohort_touched: cohorts of which every row is counted. pg_temp.cohort_bounds: for each organisation and kind of
-- period the diagonals (periods, both ends included), and the first period that has to be read.
create or replace function private.choose_cohorts() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_touched on commit drop as
    select c.organization_id, c.cohort_type, t.period_type, date_trunc(t.period_type, c.anchor_date::timestamp)::date as cohort_date
    from (
        select organization_id, cohort_type::text, old_date as anchor_date from pg_temp.cohort_anchor_changes where old_date is not null
        union
        select organization_id, cohort_type::text, new_date from pg_temp.cohort_anchor_changes where new_date is not null
        union
        -- Whose orders are another person's now.
        select m.organization_id, m.cohort_type::text, m.anchor_date
        from pg_temp.cohort_person_changes p
        cross join lateral (values (p.member), (p.person), (p.old_person)) k (member)
        join public.cohort_members m
            on m.organization_id = p.organization_id and m.cohort_type in ('signup', 'first_visit') and m.member = k.member
    ) c
    cross join pg_temp.cohort_period_types t
    union
    select s.organization_id, k.cohort_type, t.period_type, p.at::date
    from pg_temp.cohort_scope s
    cross join pg_temp.cohort_period_types t
    cross join (values ('signup'), ('first_purchase'), ('first_visit')) k (cohort_type)
    cross join lateral generate_series(date_trunc(t.period_type, s.from_date::timestamp), date_trunc(t.period_type, s.to_date::timestamp),
                                       ('1 ' || t.period_type)::interval) as p (at);
    analyze pg_temp.cohort_touched;

    create temp table cohort_bounds on commit drop as
    select b.organization_id, b.period_type, b.most, b.today, b.running, b.diagonal_from, b.diagonal_to,
           least(b.diagonal_from, k.first) as read_from
    from (
        select s.organization_id, t.period_type, t.most, s.today, r.running,
               least(date_trunc(t.period_type, s.from_date::timestamp)::date, r.old_running) as diagonal_from,
               case when r.old_running < r.running then r.running
                    else least(date_trunc(t.period_type, s.to_date::timestamp)::date, r.running) end as diagonal_to
        from pg_temp.cohort_scope s
        cross join pg_temp.cohort_period_types t
        cross join lateral (
            select case t.period_type when 'week' then s.week else s.month end as running,
                   case t.period_type when 'week' then s.old_week else s.old_month end as old_running
        ) r
    ) b
    left join (
        select t.organization_id, t.period_type, min(t.cohort_date) as first from pg_temp.cohort_touched t group by 1, 2
    ) k using (organization_id, period_type);
end $$;

-- pg_temp.cohort_facts: active members and revenue by cohort and period, from read_from on.
create or replace function private.count_cohort_facts() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    -- What was paid from then on, and by which person: a tracked purchase is left out where a store knows the user's own.
    create temp table cohort_paid on commit drop as
    select o.organization_id, o.member, o.date, o.is_order, o.revenue,
           case when l.person is not null then l.person
                when o.member like 'customer:%' then o.member
                when not exists (select from public.cohort_persons q
                                 where q.organization_id = o.organization_id and q.person = o.member) then o.member end as person
    from (select organization_id, min(read_from) as read_from from pg_temp.cohort_bounds group by 1) b
    join public.cohort_orders o on o.organization_id = b.organization_id and o.date >= b.read_from
    left join public.cohort_persons l on l.organization_id = o.organization_id and l.member = o.member;
    analyze pg_temp.cohort_paid;

    create temp table cohort_facts on commit drop as
    select f.organization_id, f.cohort_type, f.period_type, f.cohort_date, f.period_start,
           sum(f.active)::integer as active, sum(f.revenue) as revenue
    from (
        select g.organization_id, k.cohort_type, g.period_type, k.cohort_date, g.period_start, g.users as active, 0::numeric as revenue
        from (
            select v.organization_id, v.period_type, v.period_start, v.signup_cohort, v.visit_cohort, count(*) as users
            from pg_temp.cohort_bounds b
            join public.cohort_visits v
                on v.organization_id = b.organization_id and v.period_type = b.period_type and v.period_start >= b.read_from
            group by 1, 2, 3, 4, 5
        ) g
        cross join lateral (values ('signup', g.signup_cohort), ('first_visit', g.visit_cohort)) k (cohort_type, cohort_date)
        where k.cohort_date is not null
        union all
        select o.organization_id, 'first_purchase', b.period_type, p.cohort_date, p.period_start,
               count(distinct o.member) filter (where o.is_order), sum(o.revenue)
        from pg_temp.cohort_bounds b
        join pg_temp.cohort_paid o on o.organization_id = b.organization_id and o.date >= b.read_from
        join public.cohort_members m
            on m.organization_id = o.organization_id and m.cohort_type = 'first_purchase' and m.member = o.member
        cross join lateral (
            select date_trunc(b.period_type, m.anchor_date::timestamp)::date as cohort_date,
                   date_trunc(b.period_type, o.date::timestamp)::date as period_start
        ) p
        where p.cohort_date <= p.period_start
        group by 1, 3, 4, 5
        union all
        select o.organization_id, m.cohort_type::text, b.period_type, p.cohort_date, p.period_start, 0, sum(o.revenue)
        from pg_temp.cohort_bounds b
        join pg_temp.cohort_paid o on o.organization_id = b.organization_id and o.date >= b.read_from
        join public.cohort_members m
            on m.organization_id = o.organization_id and m.cohort_type in ('signup', 'first_visit') and m.member = o.person
        cross join lateral (
            select date_trunc(b.period_type, m.anchor_date::timestamp)::date as cohort_date,
                   date_trunc(b.period_type, o.date::timestamp)::date as period_start
        ) p
        where p.cohort_date <= p.period_start
        group by 1, 2, 3, 4, 5
    ) f
    group by 1, 2, 3, 4, 5;
    analyze pg_temp.cohort_facts;
end $$;

-- Writes what differs; leaves it in pg_temp.cohort_written (cohort_size null: the row has vanished).
create or replace function private.store_cohort_cells() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_sizes on commit drop as
    with ranges as (
        select t.organization_id, t.cohort_type, min(t.cohort_date) as first,
               max((t.cohort_date + ('1 ' || t.period_type)::interval)::date) as past
        from pg_temp.cohort_touched t
        group by 1, 2
    ), days as (
        select r.organization_id, r.cohort_type, m.anchor_date, count(*) as members
        from ranges r
        join public.cohort_members m
            on m.organization_id = r.organization_id and m.cohort_type = r.cohort_type
           and m.anchor_date >= r.first and m.anchor_date < r.past
        group by 1, 2, 3
    )
    select t.organization_id, t.cohort_type, t.period_type, t.cohort_date, coalesce(c.size, 0) as size, true as is_touched
    from pg_temp.cohort_touched t
    left join (
        select d.organization_id, d.cohort_type, k.period_type, date_trunc(k.period_type, d.anchor_date::timestamp)::date as cohort_date,
               sum(d.members)::integer as size
        from days d
        cross join pg_temp.cohort_period_types k
        group by 1, 2, 3, 4
    ) c using (organization_id, cohort_type, period_type, cohort_date)
    union all
    select a.organization_id, a.cohort_type::text, a.period_type::text, a.cohort_date, a.cohort_size, false
    from pg_temp.cohort_scope s
    join public.cohort_analysis a on a.organization_id = s.organization_id and a.period_number = 0
    where not exists (
        select from pg_temp.cohort_touched t
        where t.organization_id = a.organization_id and t.cohort_type = a.cohort_type and t.period_type = a.period_type
          and t.cohort_date = a.cohort_date);

    analyze pg_temp.cohort_sizes;

    create temp table cohort_cells on commit drop as
    select c.organization_id, c.cohort_type, c.period_type, c.cohort_date, n.k as period_number, c.size as cohort_size,
           case when n.k = 0 then c.size else coalesce(f.active, 0) end as active_users, coalesce(f.revenue, 0) as revenue,
           p.period_start < b.running as is_complete
    from pg_temp.cohort_sizes c
    join pg_temp.cohort_bounds b using (organization_id, period_type)
    -- How many periods after the cohort's the first and the last row lie.
    cross join lateral (
        select case when c.is_touched then c.cohort_date else b.diagonal_from end as first,
               case when c.is_touched then b.running else b.diagonal_to end as last
    ) d
    cross join lateral (
        select case c.period_type when 'week' then (d.first - c.cohort_date) / 7
                    else 12 * (extract(year from d.first) - extract(year from c.cohort_date))::integer
                         + (extract(month from d.first) - extract(month from c.cohort_date))::integer end as first,
               case c.period_type when 'week' then (d.last - c.cohort_date) / 7
                    else 12 * (extract(year from d.last) - extract(year from c.cohort_date))::integer
                         + (extract(month from d.last) - extract(month from c.cohort_date))::integer end as last
    ) r
    cross join lateral generate_series(greatest(r.first, 0), least(r.last, b.most)) as n (k)
    cross join lateral (
        select case c.period_type when 'week' then c.cohort_date + 7 * n.k
                    else (c.cohort_date + n.k * interval '1 month')::date end as period_start
    ) p
    left join pg_temp.cohort_facts f
        on f.organization_id = c.organization_id and f.cohort_type = c.cohort_type and f.period_type = c.period_type
       and f.cohort_date = c.cohort_date and f.period_start = p.period_start
    where c.size > 0 and c.cohort_date <= b.running;
    analyze pg_temp.cohort_cells;

    create temp table cohort_written on commit drop as
    select n.organization_id, n.cohort_type, n.period_type, n.cohort_date, n.period_number, n.cohort_size, n.active_users,
           n.revenue, n.is_complete
    from pg_temp.cohort_cells n
    left join public.cohort_analysis a
        on a.organization_id = n.organization_id and a.cohort_type = n.cohort_type and a.period_type = n.period_type
       and a.cohort_date = n.cohort_date and a.period_number = n.period_number
    where (a.cohort_size, a.active_users, a.revenue, a.is_complete)
          is distinct from (n.cohort_size, n.active_users, n.revenue, n.is_complete)
    union all
    select a.organization_id, a.cohort_type::text, a.period_type::text, a.cohort_date, a.period_number, null, null, null, null
    from pg_temp.cohort_touched t
    join public.cohort_analysis a
        on a.organization_id = t.organization_id and a.cohort_type = t.cohort_type and a.period_type = t.period_type
       and a.cohort_date = t.cohort_date
    where not exists (
        select from pg_temp.cohort_cells n
        where n.organization_id = a.organization_id and n.cohort_type = a.cohort_type and n.period_type = a.period_type
          and n.cohort_date = a.cohort_date and n.period_number = a.period_number);

    delete from public.cohort_analysis a
    using pg_temp.cohort_written w
    where w.cohort_size is null
      and a.organization_id = w.organization_id and a.cohort_type = w.cohort_type and a.period_type = w.period_type
      and a.cohort_date = w.cohort_date and a.period_number = w.period_number;
    insert into public.cohort_analysis as a
        (organization_id, cohort_type, period_type, cohort_date, period_number, cohort_size, active_users, revenue, is_complete)
    select w.organization_id, w.cohort_type, w.period_type, w.cohort_date, w.period_number, w.cohort_size, w.active_users,
           w.revenue, w.is_complete
    from pg_temp.cohort_written w
    where w.cohort_size is not null
    order by 1, 2, 3, 4, 5
    on conflict (organization_id, cohort_type, period_type, cohort_date, period_number) do update set
        cohort_size = excluded.cohort_size, active_users = excluded.active_users, revenue = excluded.revenue,
        is_complete = excluded.is_complete;

    insert into public.cohort_state as t (organization_id, week, month, has_orders, time_zone, currency)
    select s.organization_id, s.week, s.month, s.has_orders, s.time_zone, s.currency
    from pg_temp.cohort_scope s
    left join public.cohort_state o on o.organization_id = s.organization_id
    where (o.week, o.month, o.has_orders, o.time_zone, o.currency) is distinct from (s.week, s.month, s.has_orders, s.time_zone, s.currency)
    order by 1
    on conflict (organization_id) do update set
        week = excluded.week, month = excluded.month, has_orders = excluded.has_orders, time_zone = excluded.time_zone,
        currency = excluded.currency;
end $$;
