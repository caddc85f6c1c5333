select o.slug as organization, l.asset, l.bucket, l.status, coalesce(l.error, 'changed meanwhile') as error,
       count(*) over () as found
from public.partition_ledger l
join public.organizations o on o.id = l.organization_id
where l.asset = any (%(assets)s) and l.organization_id = any (%(organization_ids)s)
  and l.bucket >= %(start)s and l.bucket < %(end)s and l.status <> 'done'
order by l.bucket, o.slug, l.asset
limit %(most)s
