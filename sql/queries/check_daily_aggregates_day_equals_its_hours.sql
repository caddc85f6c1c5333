with tenants as materialized (
    select id, slug, time_zone from public.organizations
    where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), judged as materialized (
    -- Days that are computed and whose hours are all still there.
    select l.organization_id, (l.bucket at time zone 'UTC')::date as date,
           (l.bucket at time zone 'UTC') at time zone t.time_zone as day_start,
           (l.bucket at time zone 'UTC' + interval '1 day') at time zone t.time_zone as day_end
    from public.partition_ledger l
    join tenants t on t.id = l.organization_id
    join public.partition_ledger h
        on h.organization_id = l.organization_id and h.asset = 'hourly_aggregates' and h.computed_version is not null
       and h.bucket = date_trunc('hour', (l.bucket at time zone 'UTC') at time zone t.time_zone)
    where l.asset = 'daily_aggregates' and l.status = 'done' and l.bucket >= %(start)s and l.bucket < %(end)s
), hours as (
    -- (Day by day along the key: joined and grouped over all organisations at once, it took half as long again.)
    select j.organization_id, j.date, f.channel_id, f.metric_id, f.value
    from judged j
    cross join lateral (
        select f.channel_id, f.metric_id, sum(f.value) as value
        from public.hourly_facts f
        where f.organization_id = j.organization_id and f."timestamp" >= j.day_start and f."timestamp" < j.day_end
          and f."timestamp" >= %(start)s::timestamptz - interval '14 hours' and f."timestamp" < %(end)s::timestamptz + interval '13 hours'
        group by 1, 2
    ) f
    join public.metrics m on m.metric_id = f.metric_id and m.kind = 'sum'
    union all
    select k.organization_id, k.date, k.channel_id, 51::smallint, count(k.customer_key)
    from (
        select distinct o.organization_id, (o.bucket_at at time zone t.time_zone)::date as date, o.channel_id,
               o.data_source_id, o.customer_key
        from public.orders o join tenants t on t.id = o.organization_id
        where o.is_counted and o.bucket_at >= %(start)s::timestamptz - interval '14 hours'
          and o.bucket_at < %(end)s::timestamptz + interval '13 hours'
    ) k group by 1, 2, 3
), days as (
    select f.organization_id, f.date, f.channel_id, f.metric_id, f.value
    from public.daily_facts f
    join tenants t on t.id = f.organization_id
    join public.metrics m on m.metric_id = f.metric_id and (m.hourly or m.metric = 'customers_ordering')
    where f.date >= (%(start)s::timestamptz at time zone 'UTC')::date and f.date < (%(end)s::timestamptz at time zone 'UTC')::date
)
select t.slug as organization, date as at,
       format('%%s %%s: day says %%s, hours make %%s', c.channel, m.metric, coalesce(d.value::text, 'nothing'),
              coalesce(h.value::text, 'nothing')) as problem,
       count(*) over () as found
from (select h.* from hours h join judged j using (organization_id, date)) h
full join (select d.* from days d join judged j using (organization_id, date)) d
    using (organization_id, date, channel_id, metric_id)
join tenants t on t.id = organization_id
join public.channels c using (channel_id)
join public.metrics m using (metric_id)
where h.value is distinct from d.value
order by date, t.slug, m.metric
limit %(most)s
