-- Pages of GET /wc/v3/orders into public.orders. Called by public.ingest_orders.
--
-- Status rule of WooCommerce's own reports: pending, failed, cancelled, drafts and trash do not count. An order counts
-- when it was paid, or, not paid yet, when it was placed. gross_sales is total - tax - shipping + discount, which is
-- the sum of the lines before discounts plus fees.
create or replace function private.parse_woocommerce_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    insert into pg_temp.parsed_orders
    select p.organization_id, p.data_source_id, p.page_id, p.fetched_at, p.window_start, p.window_end, 3,
           t.status not in ('pending', 'failed', 'cancelled', 'auto-draft', 'draft', 'checkout-draft', 'trash'),
           t.order_id, t.status, t.currency, t.customer_id, private.email_hash(p.organization_id, t.email),
           t.placed_at, t.paid_at, null, coalesce(t.modified_at, t.placed_at),
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
            left(private.hide_emails(p.organization_id, coalesce(case f.problem_field
                when 'record' then r.record::text
                when 'line_items.quantity' then to_json(l.bad_quantity)::text
                else (r.record -> f.problem_field)::text end, 'missing')), 80),
            case f.problem_field
                when 'record' then 'an order' when 'id' then 'an id' when 'customer_id' then 'an id' when 'status' then 'a status'
                when 'currency' then 'a currency code' when 'line_items' then 'a list of lines'
                when 'date_created_gmt' then 'a date and time between 1990 and tomorrow'
                when 'date_paid_gmt' then 'a date and time between 1990 and tomorrow'
                when 'date_modified_gmt' then 'a date and time before tomorrow'
                else 'a number' end) end as problem
    ) v
    where p.source = 'woocommerce' and p.stream = 'orders';
end $$;
