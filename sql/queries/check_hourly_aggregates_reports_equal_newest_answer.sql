-- Written apart from the pipeline on purpose: of every account and day the newest page of the hourly report that is there,
-- read straight from the page, for one figure a vendor: sessions, and money spent on ads.
with tenants as materialized (
    select id, slug, currency from public.organizations
    where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), pages as materialized (
    select p.organization_id, p.data_source_id, p.source, p.time_zone, p.window_start, p.window_end, p.fetched_at,
           p.fetch_id, p.stream, p.id
    from public.raw_data_backup p
    join tenants t on t.id = p.organization_id
    where p.source in ('google_analytics', 'meta_ads') and p.stream = 'hourly' and p.processed
      and p.window_start < %(end)s and p.window_end > %(start)s
      -- Of answers over several pages, and of accounts in another currency, this recount cannot know.
      and p.page = 1 and p.currency = t.currency
), newest as materialized (
    -- A report's window begins at a local midnight: its hours are the account's. Labels are local; where clocks are set back, one
    -- says two hours, and stands for the first.
    select n.*, case when private.first_instant(n.local_hour, n.time_zone) = n.hour then to_char(n.local_hour, 'YYYYMMDDHH24') end as label
    from (
        select distinct on (p.organization_id, p.data_source_id, h.hour)
               p.organization_id, p.data_source_id, p.source, p.stream, p.time_zone, p.fetch_id, p.fetched_at, p.id, h.hour,
               date_trunc('hour', h.hour at time zone p.time_zone) as local_hour
        from pages p
        cross join lateral generate_series(p.window_start, p.window_end - interval '1 microsecond', interval '1 hour') as h (hour)
        where h.hour >= %(start)s and h.hour < %(end)s
        order by p.organization_id, p.data_source_id, h.hour, p.fetched_at desc
    ) n
), figures as materialized (
    -- (Only of pages that are the newest of an hour, and only its hours: each is told by hundreds, and tells hundreds.)
    select distinct p.organization_id, p.data_source_id, p.source, p.fetch_id, v.label, v.value
    from (
        select n.organization_id, n.data_source_id, n.source, n.stream, n.fetch_id, n.fetched_at, n.id, min(n.label) as first_label,
               max(n.label) as last_label
        from newest n group by 1, 2, 3, 4, 5, 6, 7
    ) p
    join public.raw_data_backup b
        on b.organization_id = p.organization_id and b.source = p.source and b.stream = p.stream and b.fetched_at = p.fetched_at and b.id = p.id
    cross join lateral (
        select r.row #>> '{dimensionValues,0,value}' as label, (r.row #>> '{metricValues,0,value}')::numeric as value
        from jsonb_array_elements(b.raw_data -> 'rows') as r (row)
        where p.source = 'google_analytics' and b.raw_data #>> '{metricHeaders,0,name}' = 'sessions'
        union all
        select replace(r.row ->> 'date_start', '-', '') || left(r.row ->> 'hourly_stats_aggregated_by_advertiser_time_zone', 2),
               (r.row ->> 'spend')::numeric
        from jsonb_array_elements(b.raw_data -> 'data') as r (row)
        where p.source = 'meta_ads' and r.row ? 'spend'
    ) v
    where v.label >= p.first_label and v.label <= p.last_label
), accounts as materialized (
    -- Of an organisation and vendor those that have told something of the range.
    select s.organization_id, s.source_type as source, count(*) as accounts
    from tenants t
    join public.data_sources s on s.organization_id = t.id and s.source_type in ('google_analytics', 'meta_ads')
    where exists (select from public.metric_observations o
                  where o.organization_id = s.organization_id and o.metric_id = case s.source_type when 'meta_ads' then 27 else 1 end
                    and o.channel_id = case s.source_type when 'meta_ads' then 2 else 1 end and o.data_source_id = s.id
                    and o.bucket_at >= %(start)s and o.bucket_at < %(end)s)
    group by 1, 2
), away as materialized (
    -- Newer answers that are not at hand as one page.
    select d.organization_id, d.data_source_id, d.window_start, d.window_end, d.fetched_at
    from tenants t
    join public.raw_report_digests d on d.organization_id = t.id and d.stream = 'hourly'
    where d.window_start < %(end)s and d.window_end > %(start)s
      and not exists (select from pages p where p.organization_id = d.organization_id and p.data_source_id = d.data_source_id
                        and p.window_start = d.window_start and p.window_end = d.window_end)
), told as (
    -- Hours of which every account's newest answer is at hand as one page.
    select n.organization_id, n.source, n.hour, null::numeric as said, null::numeric as published, count(distinct n.data_source_id) as judged
    from newest n
    group by 1, 2, 3
    having not bool_or(exists (select from away d where d.organization_id = n.organization_id and d.data_source_id = n.data_source_id
                                 and d.window_start <= n.hour and d.window_end > n.hour and d.fetched_at > n.fetched_at))
    union all
    select n.organization_id, n.source, n.hour, f.value, null, 0
    from newest n
    join figures f on f.organization_id = n.organization_id and f.data_source_id = n.data_source_id and f.fetch_id = n.fetch_id
        and f.label = n.label
    union all
    select f.organization_id, case f.channel_id when 1 then 'google_analytics' else 'meta_ads' end, f."timestamp", null, f.value, 0
    from public.hourly_facts f
    join tenants t on t.id = f.organization_id
    where (f.channel_id, f.metric_id) in ((1, 1), (2, 27)) and f."timestamp" >= %(start)s and f."timestamp" < %(end)s
), differing as materialized (
    select t.organization_id, t.source, t.hour, sum(t.said) as said, sum(t.published) as published, sum(t.judged) as judged
    from told t
    group by 1, 2, 3
    having sum(t.said) is distinct from sum(t.published)
)
select t.slug as organization, d.hour as at,
       format('%%s: the newest answer says %%s, published is %%s', d.source, coalesce(d.said::text, 'nothing'),
              coalesce(d.published::text, 'nothing')) as problem,
       count(*) over () as found
from differing d
join tenants t on t.id = d.organization_id
join accounts a on a.organization_id = d.organization_id and a.source = d.source and a.accounts = d.judged
join public.partition_ledger l
    on l.organization_id = d.organization_id and l.asset = 'hourly_aggregates' and l.status = 'done'
   and l.bucket = date_trunc('hour', d.hour)
order by 2, 1
limit %(most)s
