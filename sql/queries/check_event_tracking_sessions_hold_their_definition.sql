-- Over the events themselves, of visitors with an event in the range: each event beside the one before it of the same visitor
-- that carries no session id of the client's own.
with tenants as materialized (
    select id, slug from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), events as materialized (
    select t.slug, e.organization_id, e.visitor_id, e.session_id, e."timestamp" as at
    from tenants t
    join public.event_tracking e
        on e.organization_id = t.id and e."timestamp" >= %(start)s::timestamptz - interval '1 hour'
       and e."timestamp" < %(end)s::timestamptz + interval '1 hour'
    where not exists (
        select from public.visitor_sessions s
        where s.organization_id = e.organization_id and s.visitor_id = e.visitor_id and s.session_id = e.session_id and s.is_own)
), followed as (
    select e.*, lag(e.at) over w as before_at, lag(e.session_id) over w as before_session
    from events e
    window w as (partition by e.organization_id, e.visitor_id order by e.at, e.session_id)
)
select k.organization, k.at, k.problem, count(*) over () as found
from (
    select f.slug as organization, f.at,
           case when f.session_id = f.before_session
                then format('session %%s of %%s has a gap from %%s to %%s', f.session_id, f.visitor_id, f.before_at, f.at)
                else format('sessions %%s and %%s of %%s lie %%s apart', f.before_session, f.session_id, f.visitor_id, f.at - f.before_at) end as problem
    from followed f
    where (f.session_id = f.before_session) = (f.at - f.before_at > interval '30 minutes')
    union all
    select t.slug, s.started_at, format('session %%s of %%s has not the id of its start', s.session_id, s.visitor_id)
    from tenants t
    join public.visitor_sessions s on s.organization_id = t.id and s.started_at >= %(start)s and s.started_at < %(end)s and not s.is_own
    where s.session_id <> 's_' || left(md5(s.visitor_id || '|' || (extract(epoch from s.started_at) * 1000000)::bigint), 24)
) k
order by 2, 1
limit %(most)s
