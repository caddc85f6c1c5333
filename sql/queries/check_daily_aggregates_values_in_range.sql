-- What cannot be: NaN or infinity, a count below 0 or of halves, money spent or refunded below 0. (What is told less what came back, as
-- purchases, sales, items of an edited order, may be negative. What a vendor counts may be a share.)
select o.slug as organization, f.date as at, format('%%s %%s is %%s', c.channel, m.metric, f.value) as problem,
       count(*) over () as found
from public.daily_facts f
join public.organizations o on o.id = f.organization_id
join public.metrics m using (metric_id)
join public.channels c using (channel_id)
where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and f.date >= (%(start)s::timestamptz at time zone 'UTC')::date and f.date < (%(end)s::timestamptz at time zone 'UTC')::date
  and (f.value in ('NaN', 'Infinity', '-Infinity')
       or f.value < 0 and (m.unit <> 'money' and m.metric not in ('purchases', 'items_sold') or m.metric in ('ad_spend', 'refunds_amount'))
       or f.value <> trunc(f.value) and m.unit in ('count', 'users', 'customers')
           and m.metric <> 'items_sold' and c.channel in ('woocommerce', 'shopify', 'events'))
order by 2, 1, m.metric
limit %(most)s
