-- Which rows of public.cohort_analysis a computation looks at. Called by public.aggregate_cohorts.
--
-- Where cohort_scope.is_recounted, the periods of the days in scope are counted anew (all cohorts' rows of that week and
-- month: a diagonal), with those that have begun or ended since the last computation; so a day computed again, with nothing
-- new, mends what was damaged there. Else active users are added to the rows that changed. Always counted anew is every
-- row of each cohort that a member has joined or left (of the running one the size is added to as well), and money.

-- pg_temp.cohort_touched: cohorts of which every row is counted. pg_temp.cohort_added: single rows that changed, with the
-- users to add. pg_temp.cohort_bounds: for each organisation and kind of period the diagonals (periods, both ends
-- included), and the first period of which orders (read_from) and visits (visits_from; null: none) have to be read.
create or replace function private.choose_cohorts() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_touched on commit drop as
    select distinct c.organization_id, c.cohort_type, t.period_type, date_trunc(t.period_type, c.anchor_date::timestamp)::date as cohort_date
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
    cross join pg_temp.cohort_period_types t;
    analyze pg_temp.cohort_touched;

    create temp table cohort_added on commit drop as
    with people as (
        select c.organization_id, c.date, k.member
        from pg_temp.cohort_order_changes c
        left join public.cohort_persons p on p.organization_id = c.organization_id and p.member = c.member
        cross join lateral (values (c.member), (p.person)) k (member)
        where k.member is not null
    )
    select k.organization_id, k.cohort_type, k.period_type, k.cohort_date, k.period_start, n.period_number, k.users, a.cohort_size,
           a.active_users, a.is_complete
    from (
        select u.organization_id, u.cohort_type, u.period_type, u.cohort_date, u.period_start, sum(u.users)::integer as users
        from (
            select d.organization_id, k.cohort_type, d.period_type, k.cohort_date, d.period_start, d.users
            from pg_temp.cohort_visit_deltas d
            cross join lateral (values ('signup', d.signup_cohort), ('first_visit', d.visit_cohort)) k (cohort_type, cohort_date)
            -- (In the period in which it begins everybody of a cohort is active anyway.)
            where k.cohort_date < d.period_start
            union all
            select c.organization_id, m.cohort_type::text, t.period_type, date_trunc(t.period_type, m.anchor_date::timestamp)::date,
                   date_trunc(t.period_type, c.date::timestamp)::date, 0
            from people c
            join public.cohort_members m on m.organization_id = c.organization_id and m.member = c.member
            cross join pg_temp.cohort_period_types t
        ) u
        where u.cohort_date <= u.period_start
        group by 1, 2, 3, 4, 5
    ) k
    join pg_temp.cohort_scope s on s.organization_id = k.organization_id and not s.is_recounted
    join pg_temp.cohort_period_types t on t.period_type = k.period_type
    cross join lateral (
        select case k.period_type when 'week' then (k.period_start - k.cohort_date) / 7
                    else 12 * (extract(year from k.period_start) - extract(year from k.cohort_date))::integer
                         + (extract(month from k.period_start) - extract(month from k.cohort_date))::integer end as period_number
    ) n
    left join public.cohort_analysis a
        on a.organization_id = k.organization_id and a.cohort_type = k.cohort_type and a.period_type = k.period_type
       and a.cohort_date = k.cohort_date and a.period_number = n.period_number
    where k.period_start <= case k.period_type when 'week' then s.week else s.month end and n.period_number <= t.most
      -- (Not in: hashed, whatever the planner takes their numbers for.)
      and (k.organization_id, k.cohort_type, k.period_type, k.cohort_date) not in (
          select c.organization_id, c.cohort_type, c.period_type, c.cohort_date from pg_temp.cohort_touched c);
    analyze pg_temp.cohort_added (organization_id, cohort_type, period_type, cohort_date, period_start, period_number);

    -- A row that should be there and is not, or could not take what is added, was damaged: then all of them are counted.
    update pg_temp.cohort_scope s set is_recounted = true
    where s.organization_id in (
        select d.organization_id
        from pg_temp.cohort_added d
        where d.active_users is null or d.active_users + d.users not between 0 and d.cohort_size);
    delete from pg_temp.cohort_added d
    using pg_temp.cohort_scope s
    where s.is_recounted and d.organization_id = s.organization_id;

    insert into pg_temp.cohort_touched
    select s.organization_id, k.cohort_type, t.period_type, p.at::date
    from pg_temp.cohort_scope s
    cross join pg_temp.cohort_period_types t
    cross join (values ('signup'), ('first_purchase'), ('first_visit')) k (cohort_type)
    cross join lateral generate_series(date_trunc(t.period_type, s.from_date::timestamp), date_trunc(t.period_type, s.to_date::timestamp),
                                       ('1 ' || t.period_type)::interval) as p (at)
    where s.is_recounted
    except
    select t.organization_id, t.cohort_type, t.period_type, t.cohort_date from pg_temp.cohort_touched t;
    analyze pg_temp.cohort_touched;

    create temp table cohort_bounds on commit drop as
    select b.organization_id, b.period_type, b.most, b.today, b.running, b.is_recounted, b.diagonal_from, b.diagonal_to,
           least(b.diagonal_from, k.first) as read_from,
           case when b.is_recounted then least(b.diagonal_from, k.first) when k.first < b.running then k.first end as visits_from
    from (
        select s.organization_id, t.period_type, t.most, s.today, s.is_recounted, r.running,
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
    analyze pg_temp.cohort_bounds;
end $$;
