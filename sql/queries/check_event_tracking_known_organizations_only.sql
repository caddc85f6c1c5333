select k.organization_id as organization, min(k.at) as at,
       format('%%s rows of %%s without an organisation of that id', count(*), k.relation) as problem, sum(count(*)) over ()::bigint as found
from (
    select e.organization_id, e."timestamp" as at, 'event_tracking' as relation from public.event_tracking e
    where e."timestamp" >= %(start)s and e."timestamp" < %(end)s
    union all
    select s.organization_id, s.started_at, 'visitor_sessions' from public.visitor_sessions s
    where s.started_at >= %(start)s and s.started_at < %(end)s
    union all
    select v.organization_id, v.first_seen_at, 'visitors' from public.visitors v
    where v.first_seen_at >= %(start)s and v.first_seen_at < %(end)s
) k
where not exists (select from public.organizations o where o.id = k.organization_id) and (%(keys)s::text[] is null or true)
group by k.organization_id, k.relation
order by count(*) desc
limit %(most)s
