-- An hour's own count (orders, sessions, impressions) beside the median of the same local hour one to four weeks earlier. Told from 25
-- on, of less than a fifth and of more than five times as much: less says nothing of small numbers. Of a long range the last two days.
with tenants as materialized (
    select id, slug, time_zone from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), judged as materialized (
    select t.id, t.slug, t.time_zone, l.bucket as hour
    from tenants t
    join public.partition_ledger l
        on l.organization_id = t.id and l.asset = 'hourly_aggregates' and l.status = 'done'
       and l.bucket >= greatest(%(start)s::timestamptz, %(end)s::timestamptz - interval '48 hours') and l.bucket < %(end)s
    where l.bucket + interval '1 hour' <= now()
), earlier as materialized (
    select j.*, w.week, (j.hour at time zone j.time_zone - make_interval(days => 7 * w.week)) at time zone j.time_zone as same_hour
    from judged j
    cross join generate_series(1, 4) as w (week)
), known as (
    select e.id, e.slug, e.hour, e.same_hour
    from earlier e
    join public.partition_ledger l
        on l.organization_id = e.id and l.asset = 'hourly_aggregates' and l.bucket = e.same_hour and l.status = 'done'
), counted as (
    select k.id, k.slug, k.hour, v.channel_id, v.metric_id,
           percentile_disc(0.5) within group (order by coalesce(f.value, 0)) as usual, count(*) as weeks
    from known k
    cross join (values (1, 1), (2, 23), (3, 41), (4, 41), (5, 1)) as v (channel_id, metric_id)
    left join public.hourly_facts f
        on f.organization_id = k.id and f.metric_id = v.metric_id and f.channel_id = v.channel_id and f."timestamp" = k.same_hour
    group by 1, 2, 3, 4, 5
)
select c.slug as organization, c.hour as at,
       format('%%s: %%s %%s, the same hour of earlier weeks had %%s', h.channel, coalesce(f.value, 0), m.metric, c.usual) as problem,
       count(*) over () as found
from counted c
join public.channels h on h.channel_id = c.channel_id
join public.metrics m on m.metric_id = c.metric_id
left join public.hourly_facts f
    on f.organization_id = c.id and f.metric_id = c.metric_id and f.channel_id = c.channel_id and f."timestamp" = c.hour
where c.weeks >= 3 and c.usual >= 25 and (coalesce(f.value, 0) < c.usual / 5 or coalesce(f.value, 0) > c.usual * 5)
order by abs(ln(greatest(coalesce(f.value, 0), 0.5) / c.usual)) desc, 1, 2
limit %(most)s
