-- Notices that receivers have refused for more than an hour.
select o.slug as organization, n.created_at as at,
       format('the notice of %%s by %%s is not delivered after %%s attempts: %%s', n.state, n.channel, n.attempts, n.error) as problem, count(*) over () as found
from public.alert_notices n
join public.organizations o on o.id = n.organization_id
where n.delivered_at is null and n.error is not null and n.created_at < now() - interval '1 hour'
  and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and n.created_at < %(end)s::timestamptz + interval '2 days' and n.created_at >= %(start)s::timestamptz - interval '31 days'
order by n.created_at, o.slug
limit %(most)s
