-- What hourly_facts should hold, from the entities and the report streams: the one definition of the store metrics.
-- The money of a WooCommerce order counts with the order; that of a Shopify order with each of its sales, when it was agreed.
-- Grain: organisation x metric x channel x local hour. A row stands where something of its kind happened: order metrics
-- where an order counts, refund metrics where a refund does, what both move where either does.
-- Callers restrict organization_id and "timestamp"; both reach the indexes below the grouping.
create or replace view private.hourly_source with (security_invoker = true) as
select w.organization_id, m.metric_id, w.channel_id, w.bucket_at as "timestamp", m.value
from (
    select f.organization_id, f.channel_id, f.bucket_at,
           sum(f.orders) as orders, sum(f.items) as items, sum(f.gross) as gross, sum(f.discounts) as discounts,
           sum(f.shipping) as shipping, sum(f.taxes) as taxes, sum(f.refunds) as refunds, sum(f.refunded) as refunded,
           sum(f.returned) as returned, sum(f.customers_new) as customers_new, sum(f.sold) as sold,
           sum(f.cancelled) as cancelled
    from (
        select o.organization_id, o.channel_id, o.bucket_at, 1 as orders, o.items_sold as items,
               o.gross_sales * x.rate as gross, o.discounts * x.rate as discounts, o.shipping * x.rate as shipping,
               o.taxes * x.rate as taxes, 0 as refunds, 0::numeric as refunded, 0::numeric as returned, 0 as customers_new,
               1 as sold, 0 as cancelled
        from public.orders o
        join public.organizations g on g.id = o.organization_id
        cross join lateral (
            select case when o.currency = g.currency then 1
                   else private.exchange_rate(o.currency, g.currency, (o.occurred_at at time zone g.time_zone)::date) end as rate
        ) x
        where o.is_counted and o.channel_id <> 4
        union all
        select o.organization_id, o.channel_id, o.bucket_at, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        from public.orders o
        where o.is_counted and o.channel_id = 4
        union all
        select o.organization_id, o.channel_id, o.cancelled_bucket, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
        from public.orders o
        where o.is_counted and o.cancelled_bucket is not null
        union all
        select a.organization_id, a.channel_id, a.bucket_at, 0, a.items, a.gross, a.discounts, a.shipping, a.taxes,
               a.refunds, a.refunded, a.returned, 0, a.sold, 0
        from (
            select s.organization_id, s.channel_id, s.bucket_at,
                   coalesce(sum(s.quantity) filter (where s.action <> 'RETURN' and s.line_type = 'PRODUCT'), 0) as items,
                   coalesce(sum((s.total - s.taxes + s.discounts) * x.rate)
                       filter (where s.action <> 'RETURN' and s.line_type <> 'SHIPPING'), 0) as gross,
                   coalesce(sum(s.discounts * x.rate) filter (where s.action <> 'RETURN' and s.line_type <> 'SHIPPING'), 0) as discounts,
                   coalesce(sum((s.total - s.taxes) * x.rate) filter (where s.line_type = 'SHIPPING'), 0) as shipping,
                   sum(s.taxes * x.rate) as taxes,
                   max(case when s.action = 'RETURN' then 1 else 0 end) as refunds,
                   coalesce(-sum(s.total * x.rate) filter (where s.action = 'RETURN'), 0) as refunded,
                   coalesce(-sum((s.total - s.taxes) * x.rate)
                       filter (where s.action = 'RETURN' and s.line_type <> 'SHIPPING'), 0) as returned,
                   count(*) filter (where s.action <> 'RETURN') as sold
            from public.order_sales s
            join public.organizations g on g.id = s.organization_id
            cross join lateral (
                select case when s.currency = g.currency then 1
                       else private.exchange_rate(s.currency, g.currency, (s.occurred_at at time zone g.time_zone)::date) end as rate
            ) x
            where s.is_counted
            group by s.organization_id, s.channel_id, s.bucket_at, s.data_source_id, s.order_id, s.agreement_id
        ) a
        union all
        select r.organization_id, r.channel_id, r.bucket_at, 0, 0, 0, 0, -r.shipping * x.rate, -r.taxes * x.rate,
               1, r.amount * x.rate, (r.amount - r.taxes - r.shipping) * x.rate, 0, 0, 0
        from public.refunds r
        join public.organizations g on g.id = r.organization_id
        left join public.orders o using (organization_id, data_source_id, order_id)
        cross join lateral (
            select case when coalesce(o.currency, r.currency) = g.currency then 1
                   else private.exchange_rate(coalesce(o.currency, r.currency), g.currency,
                                              (r.occurred_at at time zone g.time_zone)::date) end as rate
        ) x
        where coalesce(o.is_counted, true)
        union all
        select c.organization_id, c.channel_id, c.first_order_bucket, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0
        from public.customers c
        where c.first_order_bucket is not null
    ) f
    group by f.organization_id, f.channel_id, f.bucket_at
) w
cross join lateral (values
    (41::smallint, w.orders::numeric, w.orders > 0),
    (42::smallint, w.items, w.sold > 0),
    (43::smallint, w.gross, w.sold > 0),
    (44::smallint, w.discounts, w.sold > 0),
    (45::smallint, w.shipping, w.sold > 0 or w.refunds > 0),
    (46::smallint, w.taxes, w.sold > 0 or w.refunds > 0),
    (47::smallint, w.refunded, w.refunds > 0),
    (48::smallint, w.refunds::numeric, w.refunds > 0),
    (49::smallint, w.gross - w.discounts - w.returned, w.sold > 0 or w.refunds > 0),
    (50::smallint, w.gross - w.discounts - w.returned + w.shipping + w.taxes, w.sold > 0 or w.refunds > 0),
    (52::smallint, w.customers_new::numeric, w.orders > 0),
    (57::smallint, w.cancelled::numeric, w.cancelled > 0)
) as m (metric_id, value, present)
where m.present
union all
select s.organization_id, s.metric_id, s.channel_id, s.bucket_at,
       sum(case when s.currency is null then s.value else s.value * private.observation_rate(s.organization_id, s.currency, s.bucket_at) end)
from public.metric_observations s
group by s.organization_id, s.metric_id, s.channel_id, s.bucket_at;
