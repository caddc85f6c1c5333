-- What one computation of cohorts looks at. Called by public.aggregate_cohorts.

-- The running day of an organisation: what is complete, and which periods there are, hangs on it.
create or replace function private.cohort_today(time_zone text) returns date
language sql stable set search_path = '' as $$
    select (now() at time zone time_zone)::date
$$;

-- Marks the organisations' days of these instants (pairs) as changed, for cohorts alone.
create or replace function private.mark_cohort_days(organization_ids uuid[], moments timestamptz[]) returns bigint
language sql set search_path = '' set timezone = 'UTC' as $$
    select private.mark_stale('cohort_analysis', array_agg(d.organization_id order by d.organization_id, d.bucket),
                              array_agg(d.bucket order by d.organization_id, d.bucket))
    from (
        select distinct m.organization_id, (m.at at time zone g.time_zone)::date::timestamp at time zone 'UTC' as bucket
        from unnest(organization_ids, moments) as m (organization_id, at)
        join public.organizations g on g.id = m.organization_id
    ) d
$$;

-- pg_temp.cohort_scope: organisations and their days. One whose time zone, currency or kind of purchases (its first store
-- order stops tracked ones from standing in) is another than before is counted anew as a whole. Instants reach three
-- hours further on both sides: a clock that is set back at midnight has two of them.
-- is_recounted: whether the periods of these days are counted from all that is kept. Else what changed is added to the rows
-- that there are, as on a day or two that wait in the ledger while no period has begun since.
create or replace function private.scope_cohorts(organization_ids uuid[], from_date date, to_date date) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    create temp table cohort_scope on commit drop as
    select g.id as organization_id, g.time_zone, g.currency, p.has_orders, c.is_whole, p.today, r.from_date, r.to_date,
           c.is_whole or s.organization_id is null or scope_cohorts.to_date > scope_cohorts.from_date + 1
           or s.week < date_trunc('week', p.today::timestamp)::date or s.month < date_trunc('month', p.today::timestamp)::date
           or coalesce(w.days, 0) <= scope_cohorts.to_date - scope_cohorts.from_date as is_recounted,
           (r.from_date::timestamp at time zone g.time_zone) - interval '3 hours' as from_at,
           ((r.to_date + 1)::timestamp at time zone g.time_zone) + interval '3 hours' as to_at,
           date_trunc('week', p.today::timestamp)::date as week, date_trunc('month', p.today::timestamp)::date as month,
           coalesce(s.week, date_trunc('week', p.today::timestamp)::date) as old_week,
           coalesce(s.month, date_trunc('month', p.today::timestamp)::date) as old_month
    from public.organizations g
    left join public.cohort_state s on s.organization_id = g.id
    left join (select o.organization_id, count(*) as days from pg_temp.cohort_open o group by 1) w on w.organization_id = g.id
    cross join lateral (
        select private.cohort_today(g.time_zone) as today,
               exists (select from public.orders o where o.organization_id = g.id) as has_orders
    ) p
    cross join lateral (
        select s.organization_id is not null
               and (s.time_zone, s.currency, s.has_orders) is distinct from (g.time_zone, g.currency, p.has_orders) as is_whole
    ) c
    cross join lateral (
        select case when c.is_whole then least(scope_cohorts.from_date, private.first_cohort_source(g.id)) else scope_cohorts.from_date end as from_date,
               case when c.is_whole then greatest(scope_cohorts.to_date, p.today + 2) else scope_cohorts.to_date end as to_date
    ) r
    where g.id = any (organization_ids);

    create temp table cohort_period_types (period_type text, most integer) on commit drop;
    insert into pg_temp.cohort_period_types values ('week', 104), ('month', 36);
end $$;

-- The first day of which an organisation has anything that cohorts are counted from, or were.
create or replace function private.first_cohort_source(organization_id uuid) returns date
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select (least(
        (select min(o.occurred_at) from public.orders o where o.organization_id = first_cohort_source.organization_id),
        (select min(c.registered_at) from public.customers c where c.organization_id = first_cohort_source.organization_id),
        (select min(v.first_seen_at) from public.visitors v where v.organization_id = first_cohort_source.organization_id),
        (select min(v.signed_up_at) from public.visitors v where v.organization_id = first_cohort_source.organization_id),
        (select min(d.date)::timestamptz from public.visitor_days d where d.organization_id = first_cohort_source.organization_id),
        (select min(e."timestamp") from public.event_tracking e
         where e.organization_id = first_cohort_source.organization_id
           and e.event_name in ('Order Completed', 'Order Refunded') and e.user_id is not null),
        (select min(m.anchor_date)::timestamptz from public.cohort_members m where m.organization_id = first_cohort_source.organization_id),
        (select min(o.date)::timestamptz from public.cohort_orders o where o.organization_id = first_cohort_source.organization_id),
        (select min(v.period_start)::timestamptz from public.cohort_visits v where v.organization_id = first_cohort_source.organization_id)
    ))::date - 2
$$;

-- The day before which a source's partitions have left by retention: what cohorts hold of it then stays.
create or replace function private.kept_from(parent_table text) returns date
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select coalesce(min(l.period_start)::date, '-infinity'::date) from private.list_partitions(parent_table) l
$$;
