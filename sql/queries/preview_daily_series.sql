with chosen as (
    select organization_id from public.daily_facts
    where organization_id = any (%(ids)s) and metric_id = 50
      and date between (%(start)s::timestamptz at time zone 'UTC')::date and (%(end)s::timestamptz at time zone 'UTC')::date
    group by 1 order by count(*) desc, 1 limit %(most)s
)
select o.slug as organization, f.date::timestamp as at, sum(f.value) as value
from public.daily_facts f
join chosen using (organization_id)
join public.organizations o on o.id = f.organization_id
where f.metric_id = 50
  and f.date between (%(start)s::timestamptz at time zone 'UTC')::date and (%(end)s::timestamptz at time zone 'UTC')::date
group by 1, 2 order by 2
