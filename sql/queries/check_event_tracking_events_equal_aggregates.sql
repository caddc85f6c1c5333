-- Written apart from the pipeline on purpose: from the events themselves. Days whose sums have left by retention
-- are not judged.
with tenants as materialized (
    select id, slug, time_zone from public.organizations
    where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), quarters as (
    select e.organization_id, date_bin('15 minutes', e."timestamp", timestamptz '2000-01-01 00:00+00') as at, m.metric_id, count(*) as value
    from tenants t
    join public.event_tracking e on e.organization_id = t.id
    cross join lateral (values (7, true), (6, e.event_type in ('page', 'screen')),
                               (17, e.event_type = 'track' and e.event_name = 'Order Completed')) m (metric_id, counts)
    where m.counts and e."timestamp" >= %(start)s and e."timestamp" < %(end)s::timestamptz + interval '1 hour'
    group by 1, 2, 3
    union all
    select s.organization_id, date_bin('15 minutes', s.started_at, timestamptz '2000-01-01 00:00+00'), 1, count(*)
    from tenants t
    join public.visitor_sessions s on s.organization_id = t.id
    where s.started_at >= %(start)s and s.started_at < %(end)s::timestamptz + interval '1 hour'
    group by 1, 2
), recount as (
    select q.organization_id, private.local_hour(q.at, t.time_zone) as hour, q.metric_id, sum(q.value) as value
    from quarters q
    join tenants t on t.id = q.organization_id
    where private.local_hour(q.at, t.time_zone) >= %(start)s and private.local_hour(q.at, t.time_zone) < %(end)s
    group by 1, 2, 3
), summed as (
    select o.organization_id, o.bucket_at as hour, o.metric_id::integer as metric_id, sum(o.value) as value
    from public.metric_observations o
    join tenants t on t.id = o.organization_id
    where o.channel_id = 5 and o.metric_id in (1, 6, 7, 17) and o.bucket_at >= %(start)s and o.bucket_at < %(end)s
    group by 1, 2, 3
), published as (
    select f.organization_id, f."timestamp" as hour, f.metric_id::integer as metric_id, f.value
    from public.hourly_facts f
    join tenants t on t.id = f.organization_id
    where f.channel_id = 5 and f.metric_id in (1, 6, 7, 17) and f."timestamp" >= %(start)s and f."timestamp" < %(end)s
)
select t.slug as organization, d.hour as at,
       format('%%s: events make %%s, summed up %%s, hourly_aggregates %%s', m.metric, coalesce(d.events_make, 0),
              coalesce(d.summed_up, 0), case when h.status = 'done' then coalesce(d.published, 0)::text else 'not computed yet' end) as problem,
       count(*) over () as found
from (
    select organization_id, hour, metric_id, r.value as events_make, s.value as summed_up, p.value as published
    from recount r
    full join summed s using (organization_id, hour, metric_id)
    full join published p using (organization_id, hour, metric_id)
) d
join tenants t on t.id = d.organization_id
join public.metrics m on m.metric_id = d.metric_id
join public.partition_ledger l
    on l.organization_id = d.organization_id and l.asset = 'event_tracking' and l.status = 'done'
   and l.bucket = date_trunc('hour', d.hour)
left join public.partition_ledger h
    on h.organization_id = d.organization_id and h.asset = 'hourly_aggregates' and h.bucket = date_trunc('hour', d.hour)
where private.partition_exists(private.partition_name('metric_observations', 'day', d.hour at time zone 'UTC'))
  and (d.events_make is distinct from d.summed_up
       or h.status = 'done' and d.events_make is distinct from d.published
          and private.partition_exists(private.partition_name('hourly_facts', 'day', d.hour at time zone 'UTC')))
order by 2, 1, m.metric
limit %(most)s
