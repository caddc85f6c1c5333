with tenants as materialized (
    select g.id, g.slug, g.time_zone, g.currency, private.cohort_today(g.time_zone) as today from public.organizations g
    where %(keys)s::text[] is null or g.partition_key = any (%(keys)s)
), weeks as materialized (
    -- Of which every day up to today is computed since it last changed.
    select t.id, t.slug, t.time_zone, t.currency, w.at::date as week,
           (w.at at time zone t.time_zone) - interval '3 hours' as from_at,
           ((w.at + interval '7 days') at time zone t.time_zone) + interval '3 hours' as to_at
    from tenants t
    cross join lateral generate_series(date_trunc('week', %(start)s::timestamptz at time zone 'UTC'),
                                       date_trunc('week', (%(end)s::timestamptz at time zone 'UTC') - interval '1 day'), interval '7 days') as w (at)
    where (select count(*) from public.partition_ledger l
           where l.organization_id = t.id and l.asset = 'cohort_analysis' and l.status = 'done'
             and l.bucket >= w.at at time zone 'UTC' and l.bucket < (w.at + interval '7 days') at time zone 'UTC')
          >= least(7, t.today - w.at::date + 1)
      and not exists (select from public.partition_ledger h
                      where h.organization_id = t.id and h.asset = 'hourly_aggregates' and h.status <> 'done'
                        and h.bucket >= (w.at - interval '15 hours') at time zone 'UTC'
                        and h.bucket < (w.at + interval '7 days 14 hours') at time zone 'UTC')
), money as (
    select w.id, w.week, o.data_source_id, o.customer_key, o.occurred_at as at, o.occurred_at as order_at, o.total as amount,
           o.currency as from_code, w.currency as to_code, w.time_zone
    from weeks w
    join public.orders o on o.organization_id = w.id and o.bucket_at >= w.from_at and o.bucket_at < w.to_at
    where o.channel_id <> 4 and o.is_counted and o.cancelled_at is null
    union all
    select w.id, w.week, o.data_source_id, o.customer_key, m.occurred_at, o.occurred_at, -m.amount, o.currency, w.currency, w.time_zone
    from weeks w
    join public.refunds m on m.organization_id = w.id and m.bucket_at >= w.from_at and m.bucket_at < w.to_at
    join public.orders o on o.organization_id = m.organization_id and o.data_source_id = m.data_source_id and o.order_id = m.order_id
    where o.is_counted and o.cancelled_at is null and m.occurred_at >= o.occurred_at
    union all
    -- Nothing is given back before it was bought: it counts with the order then.
    select w.id, w.week, o.data_source_id, o.customer_key, m.occurred_at, o.occurred_at, -m.amount, o.currency, w.currency, w.time_zone
    from weeks w
    join public.orders o on o.organization_id = w.id and o.bucket_at >= w.from_at and o.bucket_at < w.to_at
    join public.refunds m on m.organization_id = o.organization_id and m.data_source_id = o.data_source_id and m.order_id = o.order_id
    where o.is_counted and o.cancelled_at is null and m.occurred_at < o.occurred_at
    union all
    select w.id, w.week, o.data_source_id, o.customer_key, m.occurred_at, o.occurred_at, m.total, m.currency, w.currency, w.time_zone
    from weeks w
    join public.order_sales m on m.organization_id = w.id and m.bucket_at >= w.from_at and m.bucket_at < w.to_at
    join public.orders o on o.organization_id = m.organization_id and o.data_source_id = m.data_source_id and o.order_id = m.order_id
    where o.is_counted and o.cancelled_at is null and m.occurred_at >= o.occurred_at
    union all
    -- Nothing is given back before it was bought: it counts with the order then.
    select w.id, w.week, o.data_source_id, o.customer_key, m.occurred_at, o.occurred_at, m.total, m.currency, w.currency, w.time_zone
    from weeks w
    join public.orders o on o.organization_id = w.id and o.bucket_at >= w.from_at and o.bucket_at < w.to_at
    join public.order_sales m on m.organization_id = o.organization_id and m.data_source_id = o.data_source_id and m.order_id = o.order_id
    where o.is_counted and o.cancelled_at is null and m.occurred_at < o.occurred_at
), recounted as (
    select m.id, m.week,
           sum(m.amount * case when m.from_code = m.to_code then 1
                               else private.exchange_rate(m.from_code, m.to_code, (m.at at time zone m.time_zone)::date) end) as revenue
    from money m
    join public.cohort_members c
        on c.organization_id = m.id and c.cohort_type = 'first_purchase'
       and c.member = 'customer:' || m.data_source_id || ':' || m.customer_key
    where date_trunc('week', greatest(m.at, m.order_at) at time zone m.time_zone)::date = m.week
      and m.week - date_trunc('week', c.anchor_date::timestamp)::date between 0 and 7 * 104
    group by 1, 2
), counted as (
    select w.id, w.week, sum(a.revenue) as revenue
    from weeks w
    join public.cohort_analysis c
        on c.organization_id = w.id and c.cohort_type = 'first_purchase' and c.period_type = 'week' and c.period_number = 0
       and c.cohort_date <= w.week
    join public.cohort_analysis a
        on a.organization_id = c.organization_id and a.cohort_type = c.cohort_type and a.period_type = c.period_type
       and a.cohort_date = c.cohort_date and a.period_number = (w.week - c.cohort_date) / 7
    where exists (select from public.orders o where o.organization_id = w.id)
    group by 1, 2
)
select w.slug as organization, week as at,
       format('the cohorts'' revenue of that week is %%s, their members'' orders less refunds are %%s',
              coalesce(c.revenue, 0), coalesce(r.revenue, 0)) as problem,
       count(*) over () as found
from counted c
full join recounted r using (id, week)
join weeks w using (id, week)
where coalesce(c.revenue, 0) <> coalesce(r.revenue, 0)
order by week, w.slug
limit %(most)s
