with tenants as materialized (
    select g.id, g.slug, g.time_zone, private.cohort_today(g.time_zone) as today from public.organizations g
    where %(keys)s::text[] is null or g.partition_key = any (%(keys)s)
), days as materialized (
    -- Over, and computed since they last changed; instants a little wider, for clocks set back at midnight.
    select t.id, t.slug, t.time_zone, d.date, l.is_first_known,
           (d.date::timestamp at time zone t.time_zone) - interval '3 hours' as from_at,
           ((d.date + 1)::timestamp at time zone t.time_zone) + interval '3 hours' as to_at
    from tenants t
    join public.partition_ledger b
        on b.organization_id = t.id and b.asset = 'cohort_analysis' and b.status = 'done'
       and b.bucket >= %(start)s and b.bucket < %(end)s
    cross join lateral (select (b.bucket at time zone 'UTC')::date as date) d
    -- Where the history is not computed from its first order on, nobody's first purchase can be told.
    cross join lateral (
        select exists (
            select from public.partition_ledger f
            where f.organization_id = t.id and f.asset = 'cohort_analysis' and f.status = 'done'
              and f.bucket = (select (min(o.occurred_at) at time zone t.time_zone)::date::timestamp at time zone 'UTC'
                              from public.orders o
                              where o.organization_id = t.id and o.is_counted and o.cancelled_at is null
                                and o.customer_key is not null)) as is_first_known
    ) l
    where d.date < t.today
      and not exists (select from public.partition_ledger h
                      where h.organization_id = t.id and h.asset = 'hourly_aggregates' and h.status <> 'done'
                        and h.bucket >= %(start)s::timestamptz - interval '15 hours'
                        and h.bucket < %(end)s::timestamptz + interval '14 hours')
), sources as (
    select d.id, 'first_visit' as cohort_type, d.date, count(*) as members
    from days d
    join public.visitors v
        on v.organization_id = d.id and v.first_seen_at >= d.from_at and v.first_seen_at < d.to_at and v.user_id is not null
       and (v.first_seen_at at time zone d.time_zone)::date = d.date
    where v.first_seen_at >= (select min(from_at) from days) and v.first_seen_at < (select max(to_at) from days)
    group by 1, 3
    union all
    select d.id, 'first_purchase', d.date, count(distinct (o.data_source_id, o.customer_key))
    from days d
    join public.orders o
        on o.organization_id = d.id and o.bucket_at >= d.from_at and o.bucket_at < d.to_at
       and (o.occurred_at at time zone d.time_zone)::date = d.date
    where d.is_first_known and o.is_counted and o.cancelled_at is null and o.customer_key is not null
      and not exists (
          select from public.orders e
          where e.organization_id = o.organization_id and e.data_source_id = o.data_source_id and e.customer_key = o.customer_key
            and e.is_counted and e.cancelled_at is null and (e.occurred_at at time zone d.time_zone)::date < d.date)
    group by 1, 3
    union all
    select r.id, 'signup', r.date, count(distinct r.person)
    from (
        select d.id, d.time_zone, d.date, 'user:' || v.visitor_id as person
        from days d
        join public.visitors v
            on v.organization_id = d.id and v.signed_up_at >= d.from_at and v.signed_up_at < d.to_at and v.user_id is not null
           and (v.signed_up_at at time zone d.time_zone)::date = d.date
        where v.signed_up_at >= (select min(from_at) from days) and v.signed_up_at < (select max(to_at) from days)
        union all
        select d.id, d.time_zone, d.date, coalesce(p.person, 'customer:' || c.data_source_id || ':' || c.customer_key)
        from days d
        join public.customers c
            on c.organization_id = d.id and c.registered_at >= d.from_at and c.registered_at < d.to_at
           and (c.registered_at at time zone d.time_zone)::date = d.date
        left join public.cohort_persons p
            on p.organization_id = d.id and p.member = 'customer:' || c.data_source_id || ':' || c.customer_key
    ) r
    where not exists (
            select from public.visitors v
            where v.organization_id = r.id and v.user_id is not null and 'user:' || v.visitor_id = r.person
              and v.visitor_id = substr(r.person, 6) and (v.signed_up_at at time zone r.time_zone)::date < r.date)
      and not exists (
            select from public.cohort_persons p
            join public.customers c
                on c.organization_id = p.organization_id and c.data_source_id = substr(p.member, 10, 36)::uuid
               and c.customer_key = substr(p.member, 47)
            where p.organization_id = r.id and p.person = r.person and (c.registered_at at time zone r.time_zone)::date < r.date)
    group by 1, 3
), counted as (
    select d.id, m.cohort_type::text, d.date, count(*) as members
    from days d
    join public.cohort_members m
        on m.organization_id = d.id and m.cohort_type in ('signup', 'first_visit', 'first_purchase') and m.anchor_date = d.date
    where m.cohort_type <> 'first_purchase' or d.is_first_known and m.member like 'customer:%%'
    group by 1, 2, 3
), found as (
    select t.slug, k.date as at,
           format('%%s: %%s members on that day, their sources say %%s', k.cohort_type, k.counted, k.recounted) as problem
    from (
        select id, cohort_type, date, coalesce(c.members, 0) as counted, coalesce(s.members, 0) as recounted
        from counted c full join sources s using (id, cohort_type, date)
    ) k
    join tenants t on t.id = k.id
    where k.counted <> k.recounted
    union all
    select t.slug, cohort_date,
           format('%%s cohort of the %%s: size %%s, but %%s members', cohort_type, period_type, coalesce(a.cohort_size, 0), coalesce(m.members, 0))
    from (
        select m.organization_id, m.cohort_type, k.period_type, date_trunc(k.period_type, m.anchor_date::timestamp)::date as cohort_date,
               count(*) as members
        from tenants t
        cross join (values ('week'), ('month')) k (period_type)
        join public.cohort_members m
            on m.organization_id = t.id and m.cohort_type in ('signup', 'first_visit', 'first_purchase')
           and m.anchor_date >= date_trunc(k.period_type, %(start)s::timestamptz at time zone 'UTC')
           and m.anchor_date < date_trunc(k.period_type, (%(end)s::timestamptz at time zone 'UTC') - interval '1 day') + ('1 ' || k.period_type)::interval
           and m.anchor_date < date_trunc(k.period_type, t.today::timestamp) + ('1 ' || k.period_type)::interval
        group by 1, 2, 3, 4
    ) m
    full join (
        select a.organization_id, a.cohort_type, a.period_type::text, a.cohort_date, a.cohort_size
        from tenants t
        join public.cohort_analysis a on a.organization_id = t.id and a.period_number = 0
        where a.cohort_date >= date_trunc(a.period_type, %(start)s::timestamptz at time zone 'UTC')
          and a.cohort_date < (%(end)s::timestamptz at time zone 'UTC')::date
    ) a using (organization_id, cohort_type, period_type, cohort_date)
    join tenants t on t.id = organization_id
    where a.cohort_size is distinct from m.members
)
select f.slug as organization, f.at, f.problem, count(*) over () as found
from found f
order by f.at, f.slug, f.problem
limit %(most)s
