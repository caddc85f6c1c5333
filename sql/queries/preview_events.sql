-- The events of a range by name, the most frequent first.
select o.slug as organization, e.event_type as type, e.event_name as event, count(*) as events,
       count(distinct e.visitor_id) as visitors, count(distinct e.session_id) as sessions
from public.event_tracking e
join public.organizations o on o.id = e.organization_id
where e.organization_id = any (%(ids)s) and e."timestamp" >= %(start)s and e."timestamp" < %(end)s::timestamptz + interval '1 hour'
group by 1, 2, 3
order by 4 desc, 1, 2, 3
limit 30
