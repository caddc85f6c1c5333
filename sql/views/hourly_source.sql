-- What hourly_facts should hold, from the entities and the report streams: the one definition of the store metrics.
-- Grain: organisation x metric x channel x local hour. A row stands where something of its kind happened: order metrics
-- where an order counts, refund metrics where a refund does, what both move where either does.
-- Callers restrict organization_id and "timestamp"; both reach the indexes below the grouping.
create or replace view private.hourly_source with (security_invoker = true) as
select w.organization_id, m.metric_id, w.channel_id, w.bucket_at as "timestamp", m.value
from (
    select f.organization_id, f.channel_id, f.bucket_at,
           sum(f.orders) as orders, sum(f.items) as items, sum(f.gross) as gross, sum(f.discounts) as discounts,
           sum(f.shipping) as shipping, sum(f.taxes) as taxes, sum(f.refunds) as refunds, sum(f.refunded) as refunded,
           sum(f.returned) as returned, sum(f.customers_new) as customers_new
    from (
        select o.organization_id, o.channel_id, o.bucket_at, 1 as orders, o.items_sold as items,
               o.gross_sales * x.rate as gross, o.discounts * x.rate as discounts, o.shipping * x.rate as shipping,
               o.taxes * x.rate as taxes, 0 as refunds, 0::numeric as refunded, 0::numeric as returned, 0 as customers_new
        from public.orders o
        join public.organizations g on g.id = o.organization_id
        cross join lateral (
            select case when o.currency = g.currency then 1
                   else private.exchange_rate(o.currency, g.currency, (o.occurred_at at time zone g.time_zone)::date) end as rate
        ) x
        where o.is_counted
        union all
        select r.organization_id, r.channel_id, r.bucket_at, 0, 0, 0, 0, -r.shipping * x.rate, -r.taxes * x.rate,
               1, r.amount * x.rate, (r.amount - r.taxes - r.shipping) * x.rate, 0
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
        select c.organization_id, c.channel_id, c.first_order_bucket, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
        from public.customers c
        where c.first_order_bucket is not null
    ) f
    group by f.organization_id, f.channel_id, f.bucket_at
) w
cross join lateral (values
    (41::smallint, w.orders::numeric, w.orders > 0),
    (42::smallint, w.items, w.orders > 0),
    (43::smallint, w.gross, w.orders > 0),
    (44::smallint, w.discounts, w.orders > 0),
    (45::smallint, w.shipping, true),
    (46::smallint, w.taxes, true),
    (47::smallint, w.refunded, w.refunds > 0),
    (48::smallint, w.refunds::numeric, w.refunds > 0),
    (49::smallint, w.gross - w.discounts - w.returned, true),
    (50::smallint, w.gross - w.discounts - w.returned + w.shipping + w.taxes, true),
    (52::smallint, w.customers_new::numeric, w.orders > 0)
) as m (metric_id, value, present)
where m.present
union all
select s.organization_id, s.metric_id, s.channel_id, s.bucket_at, sum(s.value)
from public.metric_observations s
group by s.organization_id, s.metric_id, s.channel_id, s.bucket_at;
