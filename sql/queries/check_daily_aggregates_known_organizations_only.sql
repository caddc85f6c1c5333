select f.organization_id as organization, min(f.date) as at,
       format('%%s rows without %%s', count(*), case when o.id is null then 'an organisation of that id'
              when m.metric_id is null then 'a metric ' || f.metric_id else 'a channel ' || f.channel_id end) as problem,
       sum(count(*)) over ()::bigint as found
from public.daily_facts f
left join public.organizations o on o.id = f.organization_id
left join public.metrics m on m.metric_id = f.metric_id
left join public.channels c on c.channel_id = f.channel_id
where f.date >= (%(start)s::timestamptz at time zone 'UTC')::date and f.date < (%(end)s::timestamptz at time zone 'UTC')::date
  and (o.id is null or m.metric_id is null or c.channel_id is null)
  and (%(keys)s::text[] is null or true)
group by f.organization_id, o.id, m.metric_id, f.metric_id, f.channel_id
order by count(*) desc
limit %(most)s
