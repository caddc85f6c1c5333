-- Written apart from the pipeline on purpose: of every account and day the newest page of the hourly report that is there,
-- read straight from the page, for one figure a vendor: sessions, and money spent on ads.
with tenants as materialized (
    select id, slug, currency from public.organizations
    where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), pages as materialized (
    select p.organization_id, p.data_source_id, p.source, p.time_zone, p.currency, p.window_start, p.window_end, p.fetched_at,
           p.fetch_id, p.raw_data
    from public.raw_data_backup p
    join tenants t on t.id = p.organization_id
    where p.source in ('google_analytics', 'meta_ads') and p.stream = 'hourly' and p.processed
      and p.window_start < %(end)s and p.window_end > %(start)s
      -- Of answers over several pages, and of accounts in another currency, this recount cannot know.
      and p.page = 1 and p.currency = t.currency
), newest as (
    select distinct on (p.organization_id, p.data_source_id, h.hour) p.*, h.hour
    from pages p
    cross join lateral generate_series(greatest(p.window_start, date_trunc('hour', %(start)s::timestamptz, 'UTC')),
                                       least(p.window_end, %(end)s) - interval '1 microsecond', interval '15 minutes') as h (hour)
    order by p.organization_id, p.data_source_id, h.hour, p.fetched_at desc
), figures as materialized (
    select distinct p.organization_id, p.data_source_id, p.source, p.fetch_id, p.fetched_at,
           coalesce(g.label, m.label) as label, coalesce(g.value, m.value) as value, p.time_zone
    from pages p
    left join lateral (
        select r.row #>> '{dimensionValues,0,value}' as label, (r.row #>> '{metricValues,0,value}')::numeric as value
        from jsonb_array_elements(p.raw_data -> 'rows') as r (row)
        where p.source = 'google_analytics' and p.raw_data #>> '{metricHeaders,0,name}' = 'sessions'
    ) g on true
    left join lateral (
        select replace(r.row ->> 'date_start', '-', '') || left(r.row ->> 'hourly_stats_aggregated_by_advertiser_time_zone', 2) as label,
               (r.row ->> 'spend')::numeric as value
        from jsonb_array_elements(p.raw_data -> 'data') as r (row)
        where p.source = 'meta_ads' and r.row ? 'spend'
    ) m on true
    where coalesce(g.label, m.label) is not null
), recount as (
    select n.organization_id, n.source, n.hour as bucket_at, sum(f.value) as value
    from newest n
    join figures f on f.organization_id = n.organization_id and f.data_source_id = n.data_source_id
        and f.source = n.source and f.fetch_id = n.fetch_id
        and private.first_instant(to_timestamp(f.label, 'YYYYMMDDHH24') at time zone 'UTC', f.time_zone) = n.hour
    where n.hour >= %(start)s and n.hour < %(end)s
    group by 1, 2, 3
), published as (
    select f.organization_id, c.channel::text as source, f."timestamp" as bucket_at, f.value
    from public.hourly_facts f
    join tenants t on t.id = f.organization_id
    join public.channels c using (channel_id)
    where (f.channel_id, f.metric_id) in ((1, 1), (2, 27)) and f."timestamp" >= %(start)s and f."timestamp" < %(end)s
), judged as materialized (
    -- Hours of which every account's newest answer is at hand as one page.
    select n.organization_id, n.source, n.hour as bucket_at
    from newest n
    group by 1, 2, 3
    having count(distinct n.data_source_id) = (
        select count(*) from public.data_sources s
        where s.organization_id = n.organization_id and s.source_type = n.source
          and exists (select from public.metric_observations o
                      where o.organization_id = s.organization_id and o.data_source_id = s.id
                        and o.bucket_at >= %(start)s and o.bucket_at < %(end)s))
       and bool_and(not exists (
           select from public.raw_report_digests d
           where d.organization_id = n.organization_id and d.data_source_id = n.data_source_id and d.stream = 'hourly'
             and d.window_start <= n.hour and d.window_end > n.hour and d.fetched_at > n.fetched_at
             and not exists (select from pages p where p.data_source_id = d.data_source_id
                             and p.window_start = d.window_start and p.window_end = d.window_end)))
)
select t.slug as organization, j.bucket_at as at,
       format('%%s: the newest answer says %%s, published is %%s', j.source, coalesce(r.value::text, 'nothing'),
              coalesce(p.value::text, 'nothing')) as problem,
       count(*) over () as found
from judged j
join tenants t on t.id = j.organization_id
join public.partition_ledger l
    on l.organization_id = j.organization_id and l.asset = 'hourly_aggregates' and l.status = 'done'
   and l.bucket = date_trunc('hour', j.bucket_at)
left join recount r on r.organization_id = j.organization_id and r.source = j.source and r.bucket_at = j.bucket_at
left join published p on p.organization_id = j.organization_id and p.source = j.source and p.bucket_at = j.bucket_at
where r.value is distinct from p.value
order by 2, 1
limit %(most)s
