-- public.cohort_analysis from members, visits and orders, as chosen in cohort_choice.sql. Called by public.aggregate_cohorts.

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
    analyze pg_temp.cohort_paid (organization_id, date);

    create temp table cohort_facts on commit drop as
    select f.organization_id, f.cohort_type, f.period_type, f.cohort_date, f.period_start,
           sum(f.active)::integer as active, sum(f.revenue) as revenue
    from (
        select g.organization_id, k.cohort_type, g.period_type, k.cohort_date, g.period_start, g.users as active, 0::numeric as revenue
        from (
            select v.organization_id, v.period_type, v.period_start, v.signup_cohort, v.visit_cohort, count(*) as users
            from pg_temp.cohort_bounds b
            join public.cohort_visits v
                on v.organization_id = b.organization_id and v.period_type = b.period_type and v.period_start >= b.visits_from
            group by 1, 2, 3, 4, 5
        ) g
        cross join lateral (values ('signup', g.signup_cohort), ('first_visit', g.visit_cohort)) k (cohort_type, cohort_date)
        where k.cohort_date is not null
        union all
        select o.organization_id, o.cohort_type, b.period_type, p.cohort_date, p.period_start,
               (o.cohort_type = 'first_purchase' and bool_or(o.is_order))::integer, sum(o.revenue)
        from (
            select o.organization_id, o.member, o.date, o.is_order, o.revenue, m.cohort_type, m.anchor_date
            from pg_temp.cohort_paid o
            -- (One by one, by offset 0: all members were read for those who paid.)
            cross join lateral (
                select m.cohort_type::text, m.anchor_date from public.cohort_members m
                where m.organization_id = o.organization_id and m.member = o.member
                  and (m.cohort_type = 'first_purchase' or o.person = o.member)
                union all
                select m.cohort_type::text, m.anchor_date from public.cohort_members m
                where o.person <> o.member
                  and m.organization_id = o.organization_id and m.member = o.person and m.cohort_type <> 'first_purchase'
                offset 0
            ) m
        ) o
        join pg_temp.cohort_bounds b on b.organization_id = o.organization_id and b.read_from <= o.date
        cross join lateral (
            select date_trunc(b.period_type, o.anchor_date::timestamp)::date as cohort_date,
                   date_trunc(b.period_type, o.date::timestamp)::date as period_start
        ) p
        where p.cohort_date <= p.period_start
        group by 1, 2, 3, 4, 5, o.member
    ) f
    group by 1, 2, 3, 4, 5;
    analyze pg_temp.cohort_facts (organization_id, cohort_type, period_type, cohort_date, period_start);
end $$;

-- Writes what differs; leaves it in pg_temp.cohort_written (cohort_size null: the row has vanished).
create or replace function private.store_cohort_cells() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_sizes on commit drop as
    with changes as (
        select c.organization_id, c.cohort_type, k.period_type, k.cohort_date, sum(k.users)::integer as users
        from pg_temp.cohort_anchor_changes c
        cross join pg_temp.cohort_period_types t
        cross join lateral (values (t.period_type, date_trunc(t.period_type, c.old_date::timestamp)::date, -1),
                                   (t.period_type, date_trunc(t.period_type, c.new_date::timestamp)::date, 1)) k (period_type, cohort_date, users)
        where k.cohort_date is not null
        group by 1, 2, 3, 4
    ), known as (
        -- The running cohorts have one row each, in which all are active: who joined and left is added.
        select t.organization_id, t.cohort_type, t.period_type, t.cohort_date, a.cohort_size + coalesce(c.users, 0) as size
        from pg_temp.cohort_touched t
        join pg_temp.cohort_bounds b
            on b.organization_id = t.organization_id and b.period_type = t.period_type and not b.is_recounted
           and t.cohort_date = b.running
        join public.cohort_analysis a
            on a.organization_id = t.organization_id and a.cohort_type = t.cohort_type and a.period_type = t.period_type
           and a.cohort_date = t.cohort_date and a.period_number = 0
        left join changes c
            on c.organization_id = t.organization_id and c.cohort_type = t.cohort_type and c.period_type = t.period_type
           and c.cohort_date = t.cohort_date
        where a.cohort_size + coalesce(c.users, 0) > 0
    ), unknown as (
        select t.organization_id, t.cohort_type, t.period_type, t.cohort_date from pg_temp.cohort_touched t
        except
        select k.organization_id, k.cohort_type, k.period_type, k.cohort_date from known k
    ), ranges as (
        select t.organization_id, t.cohort_type, min(t.cohort_date) as first,
               max((t.cohort_date + ('1 ' || t.period_type)::interval)::date) as past
        from unknown t
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
    from unknown t
    left join (
        select d.organization_id, d.cohort_type, k.period_type, date_trunc(k.period_type, d.anchor_date::timestamp)::date as cohort_date,
               sum(d.members)::integer as size
        from days d
        cross join pg_temp.cohort_period_types k
        group by 1, 2, 3, 4
    ) c using (organization_id, cohort_type, period_type, cohort_date)
    union all
    select k.organization_id, k.cohort_type, k.period_type, k.cohort_date, k.size, true from known k
    union all
    select a.organization_id, a.cohort_type::text, a.period_type::text, a.cohort_date, a.cohort_size, false
    from pg_temp.cohort_scope s
    join public.cohort_analysis a on a.organization_id = s.organization_id and a.period_number = 0
    where s.is_recounted and not exists (
        select from pg_temp.cohort_touched t
        where t.organization_id = a.organization_id and t.cohort_type = a.cohort_type and t.period_type = a.period_type
          and t.cohort_date = a.cohort_date);

    analyze pg_temp.cohort_sizes (organization_id, cohort_type, period_type, cohort_date);

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
    where c.size > 0 and c.cohort_date <= b.running
    union all
    select d.organization_id, d.cohort_type, d.period_type, d.cohort_date, d.period_number, d.cohort_size,
           case when d.cohort_type <> 'first_purchase' then d.active_users + d.users
                when d.period_number = 0 then d.cohort_size
                else coalesce(f.active, 0) end, coalesce(f.revenue, 0), d.is_complete
    from pg_temp.cohort_added d
    left join pg_temp.cohort_facts f
        on f.organization_id = d.organization_id and f.cohort_type = d.cohort_type and f.period_type = d.period_type
       and f.cohort_date = d.cohort_date and f.period_start = d.period_start;
    analyze pg_temp.cohort_cells (organization_id, cohort_type, period_type, cohort_date, period_number);

    create temp table cohort_written on commit drop as
    select n.organization_id, n.cohort_type, n.period_type, n.cohort_date, n.period_number, n.cohort_size, n.active_users,
           n.revenue, n.is_complete, a.ctid as at
    from pg_temp.cohort_cells n
    left join public.cohort_analysis a
        on a.organization_id = n.organization_id and a.cohort_type = n.cohort_type and a.period_type = n.period_type
       and a.cohort_date = n.cohort_date and a.period_number = n.period_number
    where (a.cohort_size, a.active_users, a.revenue, a.is_complete)
          is distinct from (n.cohort_size, n.active_users, n.revenue, n.is_complete)
    union all
    select a.organization_id, a.cohort_type::text, a.period_type::text, a.cohort_date, a.period_number, null, null, null, null, a.ctid
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
    where w.cohort_size is null and a.ctid = w.at;
    update public.cohort_analysis a
    set cohort_size = w.cohort_size, active_users = w.active_users, revenue = w.revenue, is_complete = w.is_complete
    from pg_temp.cohort_written w
    where w.cohort_size is not null and a.ctid = w.at;
    insert into public.cohort_analysis
        (organization_id, cohort_type, period_type, cohort_date, period_number, cohort_size, active_users, revenue, is_complete)
    select w.organization_id, w.cohort_type, w.period_type, w.cohort_date, w.period_number, w.cohort_size, w.active_users,
           w.revenue, w.is_complete
    from pg_temp.cohort_written w
    where w.at is null
    order by 1, 2, 3, 4, 5;

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
