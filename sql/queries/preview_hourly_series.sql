-- total_sales of the organisations with the most of it; at most some 750 points each.
with chosen as (
    select organization_id from public.hourly_facts
    where organization_id = any (%(ids)s) and metric_id = 50
      and "timestamp" >= %(start)s and "timestamp" < %(end)s::timestamptz + interval '1 hour'
    group by 1 order by count(*) desc, 1 limit %(most)s
)
select o.slug as organization, date_bin(
           greatest(interval '1 hour', (%(end)s::timestamptz - %(start)s::timestamptz) / 750), f."timestamp", %(start)s) as at,
       sum(f.value) as value
from public.hourly_facts f
join chosen using (organization_id)
join public.organizations o on o.id = f.organization_id
where f.metric_id = 50 and f."timestamp" >= %(start)s and f."timestamp" < %(end)s::timestamptz + interval '1 hour'
group by 1, 2 order by 2
