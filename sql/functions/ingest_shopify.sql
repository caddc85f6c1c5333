-- Pages of Shopify's orders into public.orders and public.order_sales. Called by public.ingest_orders.
--
-- The ledger of an order are the sales of its agreements: what was sold, changed or given back, each at its own moment;
-- they never change and always make the order's current total. Shopify's own reports count by them, unpaid and cancelled
-- orders too, test orders not. orders.total is what was sold, not reduced by what was given back, as in WooCommerce.
-- Pages: stream orders (data.orders.nodes; where an order has more agreements, or an agreement more sales, than fit,
-- further pages with data.order), stream bulk_orders (lines of a bulk operation, with __parentId).
create or replace function private.parse_shopify_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
begin
    if not exists (select from pg_temp.open_pages p where p.source = 'shopify') then
        return;
    end if;
    drop table if exists pg_temp.shopify_orders, pg_temp.shopify_agreements, pg_temp.shopify_sales;
    create temp table shopify_orders on commit drop as
    select p.page_id, n.node
    from pg_temp.open_pages p
    cross join lateral (
        select j.node from jsonb_path_query(p.raw_data, 'lax $.data.orders.nodes[*]') as j (node) where p.stream = 'orders'
        union all
        select j.node from jsonb_path_query(p.raw_data, 'lax $.data.orders.edges[*].node') as j (node) where p.stream = 'orders'
        union all
        select e.line
        from jsonb_array_elements(case when p.stream = 'bulk_orders' then p.raw_data else '[]' end) as e (line)
        where not e.line ? '__parentId'
    ) n
    where p.source = 'shopify';

    create temp table shopify_agreements on commit drop as
    select o.page_id, o.node ->> 'id' as order_gid, a.agreement
    from pg_temp.shopify_orders o
    cross join lateral jsonb_path_query(o.node, 'lax $.agreements.nodes[*]') as a (agreement)
    union all
    select p.page_id, p.raw_data #>> '{data,order,id}', a.agreement
    from pg_temp.open_pages p
    cross join lateral jsonb_path_query(p.raw_data, 'lax $.data.order.agreements.nodes[*]') as a (agreement)
    where p.source = 'shopify' and p.stream = 'orders'
    union all
    select p.page_id, e.line ->> '__parentId', e.line
    from pg_temp.open_pages p
    cross join lateral jsonb_array_elements(case when p.stream = 'bulk_orders' then p.raw_data else '[]' end) as e (line)
    where p.source = 'shopify' and e.line ? '__parentId' and e.line ? 'happenedAt';

    create temp table shopify_sales on commit drop as
    select a.page_id, a.order_gid, a.agreement ->> 'id' as agreement_gid, a.agreement ->> 'happenedAt' as happened_at,
           a.agreement ->> 'reason' as reason, s.sale
    from pg_temp.shopify_agreements a
    cross join lateral jsonb_path_query(a.agreement, 'lax $.sales.nodes[*]') as s (sale)
    union all
    select p.page_id, a.order_gid, a.agreement ->> 'id', a.agreement ->> 'happenedAt', a.agreement ->> 'reason', e.line
    from pg_temp.open_pages p
    cross join lateral jsonb_array_elements(case when p.stream = 'bulk_orders' then p.raw_data else '[]' end) as e (line)
    join pg_temp.shopify_agreements a on a.page_id = p.page_id and a.agreement ->> 'id' = e.line ->> '__parentId'
    where p.source = 'shopify' and e.line ? 'actionType';

    insert into pg_temp.parsed_sales
    select p.organization_id, p.data_source_id, p.fetched_at, p.time_zone, private.gid_number(s.sale ->> 'id'),
           private.gid_number(s.order_gid), private.gid_number(s.agreement_gid), coalesce(s.reason, 'UNKNOWN'),
           coalesce(s.sale ->> 'actionType', 'UNKNOWN'), coalesce(s.sale ->> 'lineType', 'UNKNOWN'),
           coalesce(s.sale #>> '{totalAmount,shopMoney,currencyCode}', p.currency),
           private.parse_timestamp(s.happened_at) at time zone 'UTC',
           coalesce(private.parse_number(s.sale ->> 'quantity'), 0),
           private.parse_number(s.sale #>> '{totalAmount,shopMoney,amount}'),
           coalesce(private.parse_number(s.sale #>> '{totalTaxAmount,shopMoney,amount}'), 0),
           coalesce(private.parse_number(s.sale #>> '{totalDiscountAmountBeforeTaxes,shopMoney,amount}'), 0)
    from pg_temp.shopify_sales s
    join pg_temp.open_pages p using (page_id);

    insert into pg_temp.parsed_orders
    select p.organization_id, p.data_source_id, p.page_id, p.fetched_at, p.window_start, p.window_end, 4,
           (o.node -> 'test') is distinct from 'true'::jsonb, t.order_id,
           coalesce(lower(o.node ->> 'displayFinancialStatus'), 'unknown'), t.currency,
           private.gid_number(o.node #>> '{customer,id}'), null, t.processed_at, null, t.cancelled_at,
           coalesce(t.updated_at, t.processed_at), 0, t.total - t.taxes - t.shipping + t.discounts, t.discounts,
           t.shipping, t.taxes, t.total, md5(o.node::text)::uuid, v.problem_field, v.problem,
           case when v.problem is not null then o.node end, p.time_zone
    from pg_temp.shopify_orders o
    join pg_temp.open_pages p using (page_id)
    cross join lateral (
        select private.gid_number(o.node ->> 'id') as order_id,
               upper(coalesce(o.node #>> '{totalPriceSet,shopMoney,currencyCode}',
                              o.node #>> '{currentTotalPriceSet,shopMoney,currencyCode}', p.currency)) as currency,
               private.parse_timestamp(coalesce(o.node ->> 'processedAt', o.node ->> 'createdAt')) at time zone 'UTC' as processed_at,
               private.parse_timestamp(o.node ->> 'updatedAt') at time zone 'UTC' as updated_at,
               private.parse_timestamp(o.node ->> 'cancelledAt') at time zone 'UTC' as cancelled_at,
               private.parse_number(o.node #>> '{totalPriceSet,shopMoney,amount}') as total,
               coalesce(private.parse_number(o.node #>> '{totalTaxSet,shopMoney,amount}'), 0) as taxes,
               coalesce(private.parse_number(o.node #>> '{totalShippingPriceSet,shopMoney,amount}'), 0) as shipping,
               coalesce(private.parse_number(o.node #>> '{totalDiscountsSet,shopMoney,amount}'), 0) as discounts
    ) t
    -- (Of all orders at once: asked for each of them alone, the orders of 50 shops took 57 seconds in place of 1.5, growing with their square.)
    left join (
        select s.page_id, s.order_gid, min(coalesce(s.sale ->> 'id', '(no id)')) as sale
        from pg_temp.shopify_sales s
        where private.gid_number(s.sale ->> 'id') is null or private.parse_timestamp(s.happened_at) is null
           or private.parse_number(s.sale #>> '{totalAmount,shopMoney,amount}') is null
        group by 1, 2
    ) b on b.page_id = o.page_id and b.order_gid = o.node ->> 'id'
    cross join lateral (
        select case
            when t.order_id is null then 'id'
            when t.processed_at is null then 'processedAt'
            when t.processed_at not between timestamptz '1990-01-01 00:00+00' and now() + interval '1 day' then 'processedAt'
            when t.currency !~ '^[A-Z]{3}$' then 'currencyCode'
            when t.total is null then 'totalPriceSet'
            when b.sale is not null then 'agreements'
        end as problem_field
    ) f
    cross join lateral (
        select f.problem_field, case when f.problem_field is not null then format(
            'order %s: %s is %s, which is not %s', coalesce(t.order_id, '(no id)'), f.problem_field,
            left(private.hide_emails(p.organization_id, coalesce(case f.problem_field when 'agreements' then 'with sale ' || b.sale
                          else (o.node -> f.problem_field)::text end, 'missing')), 80),
            case f.problem_field
                when 'id' then 'an id' when 'processedAt' then 'a date and time between 1990 and tomorrow'
                when 'currencyCode' then 'a currency code' when 'agreements' then 'complete: an id, a moment or an amount is missing'
                else 'an amount' end) end as problem
    ) v;

    -- An order that cannot be read takes its sales along: they are read with its next version.
    delete from pg_temp.parsed_sales s
    where s.sale_id is null or s.order_id is null or s.occurred_at is null or s.total is null
       or exists (select from pg_temp.parsed_orders o
                  where o.problem is not null and o.organization_id = s.organization_id
                    and o.data_source_id = s.data_source_id and o.order_id = s.order_id);
end $$;

-- gid://shopify/Order/123 as 123.
create or replace function private.gid_number(gid text) returns text
language sql immutable parallel safe set search_path = '' as $$
    select private.parse_id(substring(gid from '([^/?]+)(\?[^/]*)?$'))
$$;

-- Sales into public.order_sales. Fills pg_temp.touched_hours.
create or replace function private.apply_sales() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
begin
    if not exists (select from pg_temp.parsed_sales) and not exists (select from pg_temp.changed_orders c where c.channel_id = 4) then
        return;
    end if;
    create temp table changed_sales on commit drop as
    select n.*, old.bucket_at as old_bucket_at
    from (
        select distinct on (s.organization_id, s.data_source_id, s.sale_id)
               s.*, private.local_hour(s.occurred_at, s.time_zone) as bucket_at, coalesce(o.is_counted, true) as is_counted
        from pg_temp.parsed_sales s
        left join public.orders o using (organization_id, data_source_id, order_id)
        order by s.organization_id, s.data_source_id, s.sale_id, s.fetched_at desc
    ) n
    left join public.order_sales old using (organization_id, data_source_id, sale_id)
    where old.sale_id is null
       or (n.bucket_at, n.is_counted, n.currency, n.order_id, n.action, n.line_type, n.quantity, n.total, n.taxes, n.discounts)
          is distinct from
          (old.bucket_at, old.is_counted, old.currency, old.order_id, old.action, old.line_type, old.quantity, old.total,
           old.taxes, old.discounts);

    insert into public.order_sales as t
        (organization_id, data_source_id, bucket_at, occurred_at, channel_id, is_counted, currency, sale_id, order_id,
         agreement_id, reason, action, line_type, quantity, total, taxes, discounts)
    select c.organization_id, c.data_source_id, c.bucket_at, c.occurred_at, 4, c.is_counted, c.currency, c.sale_id, c.order_id,
           c.agreement_id, c.reason, c.action, c.line_type, c.quantity, c.total, c.taxes, c.discounts
    from pg_temp.changed_sales c
    order by c.organization_id, c.data_source_id, c.sale_id
    on conflict (organization_id, data_source_id, sale_id) do update set
        bucket_at = excluded.bucket_at, occurred_at = excluded.occurred_at, is_counted = excluded.is_counted,
        currency = excluded.currency, order_id = excluded.order_id, agreement_id = excluded.agreement_id,
        reason = excluded.reason, action = excluded.action, line_type = excluded.line_type, quantity = excluded.quantity,
        total = excluded.total, taxes = excluded.taxes, discounts = excluded.discounts;

    insert into pg_temp.touched_hours
    select c.organization_id, h.bucket_at
    from pg_temp.changed_sales c
    cross join lateral (values (c.bucket_at), (c.old_bucket_at)) h (bucket_at)
    where h.bucket_at is not null;

    -- Sales that came before their order, or whose order turned out to be a test.
    with turned as (
        update public.order_sales t set is_counted = c.is_counted
        from pg_temp.changed_orders c
        where c.channel_id = 4 and t.organization_id = c.organization_id and t.data_source_id = c.data_source_id
          and t.order_id = c.order_id and t.is_counted <> c.is_counted
        returning t.organization_id, t.bucket_at
    )
    insert into pg_temp.touched_hours select t.organization_id, t.bucket_at from turned t;

    update public.orders o set items_sold = s.items
    from (
        select k.organization_id, k.data_source_id, k.order_id,
               coalesce(sum(t.quantity) filter (where t.action <> 'RETURN' and t.line_type = 'PRODUCT'), 0) as items
        from (
            select organization_id, data_source_id, order_id from pg_temp.changed_sales
            union select organization_id, data_source_id, order_id from pg_temp.changed_orders where channel_id = 4
        ) k
        join public.order_sales t using (organization_id, data_source_id, order_id)
        group by 1, 2, 3
    ) s
    where o.organization_id = s.organization_id and o.data_source_id = s.data_source_id and o.order_id = s.order_id
      and o.items_sold <> s.items;
end $$;
