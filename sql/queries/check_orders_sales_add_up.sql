-- Over a Shopify order its sales make what it says it is worth now; otherwise a page of its ledger is missing.
with worth as (
    select o.organization_id, o.data_source_id, o.order_id, o.bucket_at, g.slug,
           private.parse_number(n.node #>> '{currentTotalPriceSet,shopMoney,amount}') as current_total, p.fetched_at
    from public.organizations g
    join public.orders o on o.organization_id = g.id and o.channel_id = 4
    join public.raw_data_backup p
        on p.organization_id = o.organization_id and p.source = 'shopify' and p.data_source_id = o.data_source_id
       and p.fetched_at = o.fetched_at and p.processed
    cross join lateral (
        select j.node from jsonb_path_query(p.raw_data, 'lax $.data.orders.nodes[*]') as j (node) where p.stream = 'orders'
        union all
        select e.line from jsonb_array_elements(case when p.stream = 'bulk_orders' then p.raw_data else '[]' end) as e (line)
        where not e.line ? '__parentId'
    ) n
    where (%(keys)s::text[] is null or g.partition_key = any (%(keys)s))
      and o.bucket_at >= %(start)s and o.bucket_at < %(end)s and private.gid_number(n.node ->> 'id') = o.order_id
), sold as (
    select s.organization_id, s.data_source_id, s.order_id, sum(s.total) as total
    from public.order_sales s
    where (s.organization_id, s.data_source_id, s.order_id) in (select organization_id, data_source_id, order_id from worth)
    group by 1, 2, 3
)
select w.slug as organization, w.bucket_at as at,
       format('order %%s: its sales make %%s, the shop says %%s: `analytics sources backfill --organization %%s --type shopify` reads it again',
              w.order_id, coalesce(s.total, 0), w.current_total, w.slug) as problem,
       count(*) over () as found
from worth w
left join sold s using (organization_id, data_source_id, order_id)
where coalesce(s.total, 0) <> w.current_total
order by 2, 1
limit %(most)s
