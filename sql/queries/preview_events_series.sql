-- Events of the organisations with the most of them; at most some 750 points each.
with chosen as (
    select organization_id from public.metric_observations
    where organization_id = any (%(ids)s) and channel_id = 5 and metric_id = 7
      and bucket_at >= %(start)s and bucket_at < %(end)s::timestamptz + interval '1 hour'
    group by 1 order by sum(value) desc, 1 limit %(most)s
)
select o.slug as organization, date_bin(
           greatest(interval '1 hour', (%(end)s::timestamptz - %(start)s::timestamptz) / 750), m.bucket_at, %(start)s) as at,
       sum(m.value) as value
from public.metric_observations m
join chosen using (organization_id)
join public.organizations o on o.id = m.organization_id
where m.channel_id = 5 and m.metric_id = 7
  and m.bucket_at >= %(start)s and m.bucket_at < %(end)s::timestamptz + interval '1 hour'
group by 1, 2 order by 2
