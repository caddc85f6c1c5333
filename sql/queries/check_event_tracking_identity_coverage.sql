with tenants as materialized (
    select id, slug from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), events as materialized (
    select t.slug, e.organization_id, e.id, e."timestamp", e.visitor_id, e.user_id, coalesce(e.known_as, e.visitor_id) as sent_id
    from tenants t
    join public.event_tracking e on e.organization_id = t.id and e."timestamp" >= %(start)s and e."timestamp" < %(end)s
), known as materialized (
    select k.organization_id, k.sent_id, private.visitor_of(k.organization_id, k.sent_id) as user_id
    from (select distinct e.organization_id, e.sent_id from events e) k
    where exists (select from public.event_identities i where i.organization_id = k.organization_id and i.known_as = k.sent_id)
)
select e.slug as organization, e."timestamp" as at,
       format('event %%s, sent as %%s, is of user %%s, and stands under visitor %%s, user %%s', e.id, e.sent_id, k.user_id,
              e.visitor_id, coalesce(e.user_id, 'none')) as problem,
       count(*) over () as found
from events e
join known k using (organization_id, sent_id)
where (e.user_id, e.visitor_id) is distinct from (k.user_id, k.user_id)
order by 2, 1
limit %(most)s
