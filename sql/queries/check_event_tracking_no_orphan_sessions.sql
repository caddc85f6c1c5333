-- Sessions with an event or their start in the range; compared over all of their events. Where a month has left by retention,
-- sessions that reached over its end are not judged.
with tenants as materialized (
    select id, slug from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), kept as materialized (
    select min(l.period_start) as since from private.list_partitions('event_tracking') l
), concerned as materialized (
    select e.organization_id, e.visitor_id, e.session_id
    from tenants t
    join public.event_tracking e on e.organization_id = t.id and e."timestamp" >= %(start)s and e."timestamp" < %(end)s
    union
    select s.organization_id, s.visitor_id, s.session_id
    from tenants t
    join public.visitor_sessions s on s.organization_id = t.id and s.started_at >= %(start)s and s.started_at < %(end)s
), made as (
    select c.organization_id, c.visitor_id, c.session_id, min(e."timestamp") as started_at, max(e."timestamp") as last_activity,
           count(e.id) as events, count(e.id) filter (where e.event_type in ('page', 'screen')) as page_views
    from concerned c
    left join public.event_tracking e
        on e.organization_id = c.organization_id and e.visitor_id = c.visitor_id and e.session_id = c.session_id
    group by 1, 2, 3
), stored as (
    select c.organization_id, c.visitor_id, c.session_id, min(s.started_at) as started_at, max(s.last_activity) as last_activity,
           sum(s.events) as events, sum(s.page_views) as page_views, count(s.started_at) as sessions
    from concerned c
    left join public.visitor_sessions s
        on s.organization_id = c.organization_id and s.visitor_id = c.visitor_id and s.session_id = c.session_id
    group by 1, 2, 3
)
select t.slug as organization, coalesce(m.started_at, s.started_at) as at,
       format('session %%s of %%s: %%s events from %%s to %%s, %%s page views; visitor_sessions: %%s, %%s events from %%s to %%s, %%s page views',
              session_id, visitor_id, m.events, m.started_at, m.last_activity, m.page_views,
              case s.sessions when 0 then 'none' when 1 then 'one' else s.sessions || ' rows' end, coalesce(s.events, 0),
              s.started_at, s.last_activity, s.page_views) as problem,
       count(*) over () as found
from made m
join stored s using (organization_id, visitor_id, session_id)
join tenants t on t.id = organization_id
cross join kept k
where (m.started_at, m.last_activity, m.events::numeric, m.page_views::numeric, 1::bigint)
      is distinct from (s.started_at, s.last_activity, s.events::numeric, s.page_views::numeric, s.sessions)
  and coalesce(least(m.started_at, s.started_at) >= k.since + interval '1 day'
               or not exists (select from public.visitors v where v.organization_id = t.id and v.visitor_id = m.visitor_id
                                 and v.first_seen_at < k.since), true)
order by 2, 1
limit %(most)s
