-- Who bought on which day, and for how much: from the stores' orders, or from tracked purchases.
-- Called by public.aggregate_cohorts.
--
-- A qualifying order counts (orders.is_counted) and is not cancelled. Money counts with its order, never before it, and not
-- at all while its order does not qualify: a WooCommerce order's total on its day and its refunds on theirs, a Shopify
-- order's sales and returns when they were agreed. A refund of an unknown order is nobody's. Tracked purchases: Order
-- Completed less Order Refunded of known users.
-- Fills pg_temp.cohort_lines and pg_temp.cohort_blocked.
create or replace function private.read_cohort_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_lines on commit drop as
    select k.organization_id, k.date, k.is_order, k.member, k.what, k.from_code, k.to_code, k.rate_date,
           case when k.amount = 0 then 0
                when k.from_code = k.to_code then k.amount
                else k.amount * private.exchange_rate(k.from_code, k.to_code, k.rate_date) end as amount
    from (
        select s.organization_id, (o.occurred_at at time zone s.time_zone)::date as date, true as is_order,
               'customer:' || o.data_source_id || ':' || o.customer_key as member, 'order ' || o.order_id as what,
               o.currency as from_code, s.currency as to_code, (o.occurred_at at time zone s.time_zone)::date as rate_date,
               -- Of a Shopify order the money comes with its sales.
               case when o.channel_id = 4 then 0 else o.total end as amount
        from pg_temp.cohort_scope s
        join public.orders o
            on o.organization_id = s.organization_id and o.bucket_at >= s.from_at and o.bucket_at < s.to_at
        where o.is_counted and o.cancelled_at is null and o.customer_key is not null
        union all
        select s.organization_id, (greatest(r.occurred_at, o.occurred_at) at time zone s.time_zone)::date, false,
               'customer:' || o.data_source_id || ':' || o.customer_key, 'refund ' || r.refund_id,
               o.currency, s.currency, (r.occurred_at at time zone s.time_zone)::date, -r.amount
        from pg_temp.cohort_scope s
        join public.refunds r
            on r.organization_id = s.organization_id and r.bucket_at >= s.from_at and r.bucket_at < s.to_at
        join public.orders o
            on o.organization_id = r.organization_id and o.data_source_id = r.data_source_id and o.order_id = r.order_id
        where o.is_counted and o.cancelled_at is null and o.customer_key is not null and r.occurred_at >= o.occurred_at
        union all
        select s.organization_id, (greatest(r.occurred_at, o.occurred_at) at time zone s.time_zone)::date, false,
               'customer:' || o.data_source_id || ':' || o.customer_key, 'refund ' || r.refund_id,
               o.currency, s.currency, (r.occurred_at at time zone s.time_zone)::date, -r.amount
        from pg_temp.cohort_scope s
        join public.orders o
            on o.organization_id = s.organization_id and o.bucket_at >= s.from_at and o.bucket_at < s.to_at
        join public.refunds r
            on r.organization_id = o.organization_id and r.data_source_id = o.data_source_id
           and r.order_id = o.order_id
        where o.is_counted and o.cancelled_at is null and o.customer_key is not null and r.occurred_at < o.occurred_at
        union all
        select s.organization_id, (greatest(l.occurred_at, o.occurred_at) at time zone s.time_zone)::date, false,
               'customer:' || o.data_source_id || ':' || o.customer_key, 'order ' || l.order_id,
               l.currency, s.currency, (l.occurred_at at time zone s.time_zone)::date, l.total
        from pg_temp.cohort_scope s
        join public.order_sales l
            on l.organization_id = s.organization_id and l.bucket_at >= s.from_at and l.bucket_at < s.to_at
        join public.orders o
            on o.organization_id = l.organization_id and o.data_source_id = l.data_source_id and o.order_id = l.order_id
        where o.is_counted and o.cancelled_at is null and o.customer_key is not null and l.occurred_at >= o.occurred_at
        union all
        select s.organization_id, (greatest(l.occurred_at, o.occurred_at) at time zone s.time_zone)::date, false,
               'customer:' || o.data_source_id || ':' || o.customer_key, 'order ' || l.order_id,
               l.currency, s.currency, (l.occurred_at at time zone s.time_zone)::date, l.total
        from pg_temp.cohort_scope s
        join public.orders o
            on o.organization_id = s.organization_id and o.bucket_at >= s.from_at and o.bucket_at < s.to_at
        join public.order_sales l
            on l.organization_id = o.organization_id and l.data_source_id = o.data_source_id
           and l.order_id = o.order_id
        where o.is_counted and o.cancelled_at is null and o.customer_key is not null and l.occurred_at < o.occurred_at
        union all
        select s.organization_id, (e."timestamp" at time zone s.time_zone)::date, e.event_name = 'Order Completed',
               'user:' || e.user_id, 'event ' || e.event_name || ' ' || e.id, coalesce(e.currency, s.currency), s.currency,
               (e."timestamp" at time zone s.time_zone)::date,
               case e.event_name when 'Order Completed' then 1 else -1 end * coalesce(e.event_value, 0)
        from pg_temp.cohort_scope s
        join public.event_tracking e
            on e.organization_id = s.organization_id and e."timestamp" >= s.from_at and e."timestamp" < s.to_at
        where e.event_name in ('Order Completed', 'Order Refunded') and e.user_id is not null
          and (e."timestamp" at time zone s.time_zone)::date >= (select private.kept_from('event_tracking'))
          and e."timestamp" >= coalesce((select r.removed_to from public.organization_retention r
                                         where r.organization_id = s.organization_id and r.layer = 'events'), '-infinity')
    ) k
    join pg_temp.cohort_scope s on s.organization_id = k.organization_id and k.date between s.from_date and s.to_date;

    create temp table cohort_blocked on commit drop as
    select distinct on (l.organization_id, l.date) l.organization_id, l.date,
           format('%s is in %s, the organisation reports in %s, and there is no exchange rate for %s. '
                  'Add one with `analytics rates add %s %s %s RATE`.',
                  l.what, l.from_code, l.to_code, l.rate_date, l.from_code, l.to_code, l.rate_date) as reason
    from pg_temp.cohort_lines l
    where l.amount is null
    order by l.organization_id, l.date, l.what;
end $$;

-- Into public.cohort_orders, what differs; a blocked day keeps the rows that it had.
create or replace function private.store_cohort_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    -- is_order null: the row has vanished.
    create temp table cohort_order_changes on commit drop as
    select organization_id, member, date, n.is_order, n.revenue
    from (
        select l.organization_id, l.member, l.date, bool_or(l.is_order) as is_order, sum(l.amount) as revenue
        from pg_temp.cohort_lines l
        join pg_temp.cohort_scope s on s.organization_id = l.organization_id
        where not exists (select from pg_temp.cohort_blocked b where b.organization_id = l.organization_id and b.date = l.date)
        group by 1, 2, 3
        having bool_or(l.is_order) or sum(l.amount) <> 0
    ) n
    full join (
        select o.organization_id, o.member, o.date, o.is_order, o.revenue
        from pg_temp.cohort_scope s
        join public.cohort_orders o
            on o.organization_id = s.organization_id and o.date >= s.from_date and o.date <= s.to_date
        where not exists (select from pg_temp.cohort_blocked b where b.organization_id = o.organization_id and b.date = o.date)
          and (o.member like 'customer:%' or o.date >= (select private.kept_from('event_tracking'))
              and o.date::timestamp at time zone s.time_zone >= coalesce(
                  (select r.removed_to from public.organization_retention r
                   where r.organization_id = s.organization_id and r.layer = 'events'), '-infinity'))
    ) old using (organization_id, member, date)
    where (n.is_order, n.revenue) is distinct from (old.is_order, old.revenue);

    analyze pg_temp.cohort_order_changes (organization_id, member, date);

    delete from public.cohort_orders o
    using pg_temp.cohort_order_changes c
    where c.is_order is null and o.organization_id = c.organization_id and o.member = c.member and o.date = c.date;
    insert into public.cohort_orders as o (organization_id, member, date, is_order, revenue)
    select c.organization_id, c.member, c.date, c.is_order, c.revenue
    from pg_temp.cohort_order_changes c
    where c.is_order is not null
    order by 1, 2, 3
    on conflict (organization_id, member, date) do update set is_order = excluded.is_order, revenue = excluded.revenue;
end $$;
