select o.slug as organization, r.order_id as "order", r.status, to_char(r.occurred_at, 'YYYY-MM-DD HH24:MI') as occurred_at,
       r.items_sold as items, r.total, r.currency
from public.orders r
join public.organizations o on o.id = r.organization_id
where r.organization_id = any (%(ids)s) and r.bucket_at >= %(start)s and r.bucket_at < %(end)s::timestamptz + interval '1 hour'
order by r.bucket_at desc, r.order_id
limit 20
