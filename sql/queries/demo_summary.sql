select o.slug, o.time_zone, o.currency, l.hours, l.days, a.*
from public.organizations o
cross join lateral (
    select count(*) filter (where asset = 'hourly_aggregates' and status = 'done') as hours,
           count(*) filter (where asset = 'daily_aggregates' and status = 'done') as days
    from public.partition_ledger where organization_id = o.id
) l
cross join lateral (
    select min(date) as first_day, max(date) as last_day,
           coalesce(sum(value) filter (where metric = 'orders'), 0) as orders,
           coalesce(sum(value) filter (where metric = 'items_sold'), 0) as items,
           coalesce(sum(value) filter (where metric = 'gross_sales'), 0) as gross,
           coalesce(sum(value) filter (where metric = 'refunds_count'), 0) as refunds,
           coalesce(sum(value) filter (where metric = 'refunds_amount'), 0) as refunded,
           coalesce(sum(value) filter (where metric = 'total_sales'), 0) as total,
           coalesce(sum(value) filter (where metric = 'customers_new'), 0) as new_customers
    from public.daily_aggregates where organization_id = o.id
) a
where o.id = any (%(organization_ids)s)
order by o.slug
