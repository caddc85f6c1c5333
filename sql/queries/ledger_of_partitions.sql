-- The ledger of an asset by partition: grain partition key x bucket.
select o.partition_key, l.bucket, sum(l.row_count)::bigint as row_count,
       count(*) filter (where l.status <> 'done') as open,
       (array_agg(o.slug order by l.status <> 'failed', o.slug) filter (where l.status <> 'done'))[1] as open_slug,
       (array_agg(l.status order by l.status <> 'failed', o.slug) filter (where l.status <> 'done'))[1] as open_status,
       (array_agg(l.error order by l.status <> 'failed', o.slug) filter (where l.status <> 'done'))[1] as open_error
from public.partition_ledger l
join public.organizations o on o.id = l.organization_id
where l.asset = %(asset)s and l.organization_id = any (%(organization_ids)s)
  and l.bucket >= %(start)s and l.bucket < %(end)s
group by o.partition_key, l.bucket
