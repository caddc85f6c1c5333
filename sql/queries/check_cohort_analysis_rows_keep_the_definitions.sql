with tenants as materialized (
    select g.id, g.slug, private.cohort_today(g.time_zone) as today from public.organizations g
    where %(keys)s::text[] is null or g.partition_key = any (%(keys)s)
), periods as (
    select t.id, t.slug, k.period_type, k.most, date_trunc(k.period_type, t.today::timestamp)::date as running, p.at::date as period_start
    from tenants t
    cross join (values ('week', 104), ('month', 36)) k (period_type, most)
    cross join lateral generate_series(
        date_trunc(k.period_type, %(start)s::timestamptz at time zone 'UTC'),
        least(date_trunc(k.period_type, (%(end)s::timestamptz at time zone 'UTC') - interval '1 day'),
              date_trunc(k.period_type, t.today::timestamp)),
        ('1 ' || k.period_type)::interval) as p (at)
), cells as (
    select p.slug, p.period_type, p.running, p.period_start, p.most, c.organization_id, c.cohort_type, c.cohort_date, c.cohort_size,
           case p.period_type when 'week' then (p.period_start - c.cohort_date) / 7
                else ((extract(year from p.period_start) - extract(year from c.cohort_date)) * 12
                      + extract(month from p.period_start) - extract(month from c.cohort_date))::integer end as k
    from periods p
    join public.cohort_analysis c
        on c.organization_id = p.id and c.period_type = p.period_type and c.period_number = 0 and c.cohort_date <= p.period_start
), found as (
    select c.slug, c.cohort_type, c.period_type, c.cohort_date, c.k,
           case when a.organization_id is null then 'has no row, it should say how many were active'
                when a.cohort_size <> c.cohort_size then format('says %%s members, its first row %%s', a.cohort_size, c.cohort_size)
                when a.active_users > a.cohort_size then format('says %%s of %%s active', a.active_users, a.cohort_size)
                when c.k = 0 and (a.active_users <> a.cohort_size or a.retention_rate <> 1)
                    then format('says %%s of %%s active in period 0', a.active_users, a.cohort_size)
                when a.retention_rate is distinct from round(a.active_users::numeric / a.cohort_size, 4)
                    then format('says rate %%s of %%s in %%s', a.retention_rate, a.active_users, a.cohort_size)
                when a.is_complete <> (c.period_start < c.running)
                    then format('says complete: %%s, its period begins on %%s', a.is_complete, c.period_start) end as problem
    from cells c
    left join public.cohort_analysis a
        on a.organization_id = c.organization_id and a.cohort_type = c.cohort_type and a.period_type = c.period_type
       and a.cohort_date = c.cohort_date and a.period_number = c.k
    where c.k <= c.most
    union all
    select c.slug, c.cohort_type, c.period_type, c.cohort_date, a.period_number, 'lies beyond the running period'
    from cells c
    join public.cohort_analysis a
        on a.organization_id = c.organization_id and a.cohort_type = c.cohort_type and a.period_type = c.period_type
       and a.cohort_date = c.cohort_date and a.period_number = c.k + 1
    where c.period_start = c.running
)
select f.slug as organization, f.cohort_date as at,
       format('%%s cohort of the %%s, period %%s: %%s', f.cohort_type, f.period_type, f.k, f.problem) as problem,
       count(*) over () as found
from found f
where f.problem is not null
order by f.cohort_date, f.slug, f.cohort_type, f.period_type, f.k
limit %(most)s
