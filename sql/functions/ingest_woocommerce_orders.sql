-- Pages of GET /wc/v3/orders into public.orders. Called by public.ingest_woocommerce.
--
-- Status rule of WooCommerce's own reports: pending, failed, cancelled, drafts and trash do not count. An order counts
-- when it was paid, or, not paid yet, when it was placed. gross_sales is total - tax - shipping + discount, which is
-- the sum of the lines before discounts plus fees.
create or replace function private.parse_woocommerce_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    insert into pg_temp.parsed_orders
    select p.organization_id, p.data_source_id, p.page_id, p.fetched_at, p.window_start, p.window_end,
           t.order_id, t.status, t.currency, t.customer_id, private.email_hash(p.organization_id, t.email),
           t.placed_at, t.paid_at, coalesce(t.modified_at, t.placed_at),
           l.items, t.total - t.taxes - t.shipping + t.discounts, t.discounts, t.shipping, t.taxes, t.total,
           md5(r.record::text)::uuid, v.problem_field, v.problem,
           case when v.problem is not null then r.record end,
           p.time_zone
    from pg_temp.open_pages p
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) as r (record)
    cross join lateral (
        select private.parse_id(r.record ->> 'id') as order_id,
               regexp_replace(lower(r.record ->> 'status'), '^wc-', '') as status,
               upper(coalesce(r.record ->> 'currency', p.currency)) as currency,
               private.parse_id(nullif(r.record ->> 'customer_id', '0')) as customer_id,
               r.record #>> '{billing,email}' as email,
               coalesce(private.parse_timestamp(r.record ->> 'date_created_gmt') at time zone 'UTC',
                        private.parse_timestamp(r.record ->> 'date_created') at time zone p.time_zone) as placed_at,
               coalesce(private.parse_timestamp(r.record ->> 'date_paid_gmt') at time zone 'UTC',
                        private.parse_timestamp(r.record ->> 'date_paid') at time zone p.time_zone) as paid_at,
               coalesce(private.parse_timestamp(r.record ->> 'date_modified_gmt') at time zone 'UTC',
                        private.parse_timestamp(r.record ->> 'date_modified') at time zone p.time_zone) as modified_at,
               private.parse_number(r.record ->> 'total') as total,
               private.parse_number(coalesce(nullif(r.record ->> 'total_tax', ''), '0')) as taxes,
               private.parse_number(coalesce(nullif(r.record ->> 'shipping_total', ''), '0')) as shipping,
               private.parse_number(coalesce(nullif(r.record ->> 'discount_total', ''), '0')) as discounts
    ) t
    cross join lateral (
        -- One regular expression in place, not a function call: there are some 25 lines to an order. (Longer numbers, and
        -- digits of other scripts, which \d may match, would fail in the cast. offset 0: each is looked at once.)
        select coalesce(sum(case when n.is_number then n.quantity::numeric end), 0) as items,
               count(*) filter (where n.is_number is not true) as bad_lines,
               min(n.quantity) filter (where not n.is_number) as bad_quantity
        from (
            select q.quantity, length(q.quantity) <= 30 and q.quantity ~ '^-?[0-9]+(\.[0-9]+)?$' as is_number
            from (
                select e.line ->> 'quantity' as quantity
                from jsonb_array_elements(
                    case jsonb_typeof(r.record -> 'line_items') when 'array' then r.record -> 'line_items' else '[]' end) as e (line)
                offset 0
            ) q
            offset 0
        ) n
    ) l
    cross join lateral (
        select case
            when jsonb_typeof(r.record) <> 'object' then 'record'
            when t.order_id is null then 'id'
            when t.customer_id is null and length(r.record ->> 'customer_id') > 100 then 'customer_id'
            when coalesce(t.status, '') = '' then 'status'
            when t.currency !~ '^[A-Z]{3}$' then 'currency'
            when t.placed_at is null then 'date_created_gmt'
            when t.placed_at not between timestamptz '1990-01-01 00:00+00' and now() + interval '1 day' then 'date_created_gmt'
            when t.paid_at is null and coalesce(r.record ->> 'date_paid_gmt', '') <> '' then 'date_paid_gmt'
            when t.paid_at not between timestamptz '1990-01-01 00:00+00' and now() + interval '1 day' then 'date_paid_gmt'
            when t.modified_at > now() + interval '1 day' then 'date_modified_gmt'
            when t.total is null then 'total'
            when t.taxes is null then 'total_tax'
            when t.shipping is null then 'shipping_total'
            when t.discounts is null then 'discount_total'
            when jsonb_typeof(r.record -> 'line_items') is distinct from 'array' then 'line_items'
            when l.bad_lines > 0 then 'line_items.quantity'
        end as problem_field
    ) f
    cross join lateral (
        select f.problem_field, case when f.problem_field is not null then format(
            'order %s: %s is %s, which is not %s', coalesce(t.order_id, '(no id)'), f.problem_field,
            left(coalesce(case f.problem_field
                when 'record' then r.record::text
                when 'line_items.quantity' then to_json(l.bad_quantity)::text
                else (r.record -> f.problem_field)::text end, 'missing'), 80),
            case f.problem_field
                when 'record' then 'an order' when 'id' then 'an id' when 'customer_id' then 'an id' when 'status' then 'a status'
                when 'currency' then 'a currency code' when 'line_items' then 'a list of lines'
                when 'date_created_gmt' then 'a date and time between 1990 and tomorrow'
                when 'date_paid_gmt' then 'a date and time between 1990 and tomorrow'
                when 'date_modified_gmt' then 'a date and time before tomorrow'
                else 'a number' end) end as problem
    ) v
    where p.stream = 'orders';
end $$;

-- Newest version wins: by modification, then by fetch, then by content, so that the order of arrival does not matter.
-- Fills pg_temp.touched_hours, pg_temp.touched_emails and pg_temp.touched_customers.
create or replace function private.apply_woocommerce_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    create temp table changed_orders on commit drop as
    select n.*, old.order_id is null as is_new,
           old.bucket_at as old_bucket_at, old.customer_key as old_customer_key, old.email_hash as old_email_hash,
           old.order_id is null
               or (n.bucket_at, n.is_counted, n.currency, n.items_sold, n.gross_sales, n.discounts, n.shipping, n.taxes,
                   n.total) is distinct from
                  (old.bucket_at, old.is_counted, old.currency, old.items_sold, old.gross_sales, old.discounts,
                   old.shipping, old.taxes, old.total) as moves_figures,
           old.order_id is null or (n.is_counted, n.currency) is distinct from (old.is_counted, old.currency)
               as moves_refunds,
           coalesce(case when n.customer_id is not null then 'id:' || n.customer_id end,
                    case when n.email_hash is not null then
                        coalesce(case when n.email_hash = old.email_hash then old.customer_key end,
                                 'email:' || encode(n.email_hash, 'hex')) end) as customer_key
    from (
        select distinct on (w.organization_id, w.data_source_id, w.order_id)
               w.*, private.local_hour(w.occurred_at, w.time_zone) as bucket_at
        from (
            select p.*, coalesce(p.paid_at, p.placed_at) as occurred_at,
                   p.status not in ('pending', 'failed', 'cancelled', 'auto-draft', 'draft', 'checkout-draft', 'trash')
                       as is_counted
            from pg_temp.parsed_orders p where p.problem is null
        ) w
        order by w.organization_id, w.data_source_id, w.order_id,
                 w.modified_at desc, w.fetched_at desc, w.content_md5 desc
    ) n
    left join public.orders old using (organization_id, data_source_id, order_id)
    where old.order_id is null
       or (n.modified_at, n.fetched_at, n.content_md5) > (old.modified_at, old.fetched_at, old.content_md5)
          and n.content_md5 <> old.content_md5;

    insert into public.orders as o
        (organization_id, data_source_id, bucket_at, occurred_at, placed_at, paid_at, modified_at, fetched_at, channel_id,
         is_counted, currency, order_id, status, customer_key, customer_id, email_hash, items_sold, gross_sales, discounts,
         shipping, taxes, total, content_md5)
    select c.organization_id, c.data_source_id, c.bucket_at, c.occurred_at, c.placed_at, c.paid_at, c.modified_at,
           c.fetched_at, 3, c.is_counted, c.currency, c.order_id, c.status, c.customer_key, c.customer_id, c.email_hash,
           c.items_sold, c.gross_sales, c.discounts, c.shipping, c.taxes, c.total, c.content_md5
    from pg_temp.changed_orders c
    order by c.organization_id, c.data_source_id, c.order_id
    on conflict (organization_id, data_source_id, order_id) do update set
        bucket_at = excluded.bucket_at, occurred_at = excluded.occurred_at, placed_at = excluded.placed_at,
        paid_at = excluded.paid_at, modified_at = excluded.modified_at, fetched_at = excluded.fetched_at,
        is_counted = excluded.is_counted, currency = excluded.currency, status = excluded.status,
        customer_key = excluded.customer_key, customer_id = excluded.customer_id, email_hash = excluded.email_hash,
        items_sold = excluded.items_sold, gross_sales = excluded.gross_sales, discounts = excluded.discounts,
        shipping = excluded.shipping, taxes = excluded.taxes, total = excluded.total, content_md5 = excluded.content_md5;

    insert into pg_temp.touched_hours
    select c.organization_id, h.bucket_at
    from pg_temp.changed_orders c
    cross join lateral (values (c.bucket_at), (c.old_bucket_at)) h (bucket_at)
    where h.bucket_at is not null and (c.moves_figures or c.customer_key is distinct from c.old_customer_key)
    union
    select r.organization_id, r.bucket_at
    from pg_temp.changed_orders c
    join public.refunds r using (organization_id, data_source_id, order_id)
    where c.moves_refunds;

    insert into pg_temp.touched_emails
    select c.organization_id, c.data_source_id, e.email_hash
    from pg_temp.changed_orders c
    cross join lateral (values (c.email_hash), (c.old_email_hash)) e (email_hash)
    where e.email_hash is not null;

    insert into pg_temp.touched_customers
    select c.organization_id, c.data_source_id, k.customer_key
    from pg_temp.changed_orders c
    cross join lateral (values (c.customer_key), (c.old_customer_key)) k (customer_key)
    where k.customer_key is not null;
end $$;
