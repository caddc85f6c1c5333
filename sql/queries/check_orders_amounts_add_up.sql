with refunded as (
    select organization_id, data_source_id, order_id, sum(amount) as amount
    from public.refunds where order_id is not null group by 1, 2, 3
)
select g.slug as organization, o.bucket_at as at,
       case when o.gross_sales - o.discounts + o.shipping + o.taxes <> o.total
           then format('order %%s: parts make %%s, total is %%s', o.order_id,
                       o.gross_sales - o.discounts + o.shipping + o.taxes, o.total)
           else format('order %%s of %%s has refunds of %%s', o.order_id, o.total, r.amount) end as problem,
       count(*) over () as found
from public.orders o
join public.organizations g on g.id = o.organization_id
left join refunded r using (organization_id, data_source_id, order_id)
where (%(keys)s::text[] is null or g.partition_key = any (%(keys)s))
  and o.bucket_at >= %(start)s and o.bucket_at < %(end)s
  and (o.gross_sales - o.discounts + o.shipping + o.taxes <> o.total or r.amount > o.total)
order by 2, 1
limit %(most)s
