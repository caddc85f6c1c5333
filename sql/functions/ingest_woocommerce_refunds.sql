-- Pages of GET /wc/v3/refunds into public.refunds. Called by public.ingest_orders.
--
-- amount is what the customer got back, positive, with tax and shipping; its parts stand on the lines, negative.
-- A refund has no modification time: the newest fetch wins.
create or replace function private.parse_woocommerce_refunds() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    insert into pg_temp.parsed_refunds
    select p.organization_id, p.data_source_id, p.page_id, p.fetched_at, p.window_start, p.window_end,
           t.refund_id, t.order_id, p.currency, t.occurred_at,
           abs(t.amount), coalesce(l.taxes, 0) + coalesce(s.taxes, 0) + coalesce(fe.taxes, 0), coalesce(s.shipping, 0),
           coalesce(l.items, 0),
           md5(r.record::text)::uuid, v.problem_field, v.problem,
           case when v.problem is not null then r.record end,
           p.time_zone
    from pg_temp.open_pages p
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) as r (record)
    cross join lateral (
        select private.parse_id(r.record ->> 'id') as refund_id,
               -- Asked for by order (an older store), a refund does not name it.
               private.parse_id(coalesce(nullif(r.record ->> 'parent_id', '0'), p.request ->> 'order_id')) as order_id,
               private.parse_number(r.record ->> 'amount') as amount,
               coalesce(private.parse_timestamp(r.record ->> 'date_created_gmt') at time zone 'UTC',
                        private.parse_timestamp(r.record ->> 'date_created') at time zone p.time_zone) as occurred_at
    ) t
    cross join lateral (
        select sum(abs(private.parse_number(e.line ->> 'quantity'))) as items,
               sum(abs(private.parse_number(e.line ->> 'total_tax'))) as taxes,
               bool_or(private.parse_number(e.line ->> 'total_tax') is null and e.line ->> 'total_tax' <> '') as is_bad
        from jsonb_array_elements(
            case jsonb_typeof(r.record -> 'line_items') when 'array' then r.record -> 'line_items' else '[]' end) as e (line)
    ) l
    cross join lateral (
        select sum(abs(private.parse_number(e.line ->> 'total'))) as shipping,
               sum(abs(private.parse_number(e.line ->> 'total_tax'))) as taxes,
               bool_or(private.parse_number(e.line ->> 'total') is null and e.line ->> 'total' <> ''
                       or private.parse_number(e.line ->> 'total_tax') is null and e.line ->> 'total_tax' <> '') as is_bad
        from jsonb_array_elements(
            case jsonb_typeof(r.record -> 'shipping_lines') when 'array' then r.record -> 'shipping_lines' else '[]' end) as e (line)
    ) s
    cross join lateral (
        select sum(abs(private.parse_number(e.line ->> 'total_tax'))) as taxes,
               bool_or(private.parse_number(e.line ->> 'total_tax') is null and e.line ->> 'total_tax' <> '') as is_bad
        from jsonb_array_elements(
            case jsonb_typeof(r.record -> 'fee_lines') when 'array' then r.record -> 'fee_lines' else '[]' end) as e (line)
    ) fe
    cross join lateral (
        select case
            when jsonb_typeof(r.record) <> 'object' then 'record'
            when t.refund_id is null then 'id'
            when t.order_id is null and length(r.record ->> 'parent_id') > 100 then 'parent_id'
            when t.occurred_at is null then 'date_created_gmt'
            when t.occurred_at not between timestamptz '1990-01-01 00:00+00' and now() + interval '1 day' then 'date_created_gmt'
            when t.amount is null then 'amount'
            when l.is_bad then 'line_items'
            when s.is_bad then 'shipping_lines'
            when fe.is_bad then 'fee_lines'
        end as problem_field
    ) f
    cross join lateral (
        select f.problem_field, case when f.problem_field is not null then format(
            'refund %s: %s is %s, which is not %s', coalesce(t.refund_id, '(no id)'), f.problem_field,
            left(private.hide_emails(p.organization_id, coalesce(case f.problem_field when 'record' then r.record::text
                          else (r.record -> f.problem_field)::text end, 'missing')), 80),
            case f.problem_field
                when 'record' then 'a refund' when 'id' then 'an id' when 'parent_id' then 'an id' when 'amount' then 'a number'
                when 'line_items' then 'a list with numbers' when 'shipping_lines' then 'a list with numbers'
                when 'fee_lines' then 'a list with numbers'
                else 'a date and time between 1990 and tomorrow' end) end as problem
    ) v
    where p.source = 'woocommerce' and p.stream = 'refunds';
end $$;

create or replace function private.apply_woocommerce_refunds() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    create temp table changed_refunds on commit drop as
    select n.*, old.bucket_at as old_bucket_at
    from (
        select distinct on (p.organization_id, p.data_source_id, p.refund_id)
               p.*, private.local_hour(p.occurred_at, p.time_zone) as bucket_at
        from pg_temp.parsed_refunds p
        where p.problem is null
        order by p.organization_id, p.data_source_id, p.refund_id, p.fetched_at desc, p.content_md5 desc
    ) n
    left join public.refunds old using (organization_id, data_source_id, refund_id)
    where old.refund_id is null
       or (n.fetched_at, n.content_md5) > (old.fetched_at, old.content_md5) and n.content_md5 <> old.content_md5;

    insert into public.refunds as r
        (organization_id, data_source_id, bucket_at, occurred_at, fetched_at, channel_id, currency, refund_id, order_id,
         amount, taxes, shipping, items_refunded, content_md5)
    select c.organization_id, c.data_source_id, c.bucket_at, c.occurred_at, c.fetched_at, 3, c.currency, c.refund_id,
           c.order_id, c.amount, c.taxes, c.shipping, c.items_refunded, c.content_md5
    from pg_temp.changed_refunds c
    order by c.organization_id, c.data_source_id, c.refund_id
    on conflict (organization_id, data_source_id, refund_id) do update set
        bucket_at = excluded.bucket_at, occurred_at = excluded.occurred_at, fetched_at = excluded.fetched_at,
        currency = excluded.currency, order_id = excluded.order_id, amount = excluded.amount, taxes = excluded.taxes,
        shipping = excluded.shipping, items_refunded = excluded.items_refunded, content_md5 = excluded.content_md5;

    insert into pg_temp.touched_hours
    select c.organization_id, h.bucket_at
    from pg_temp.changed_refunds c
    cross join lateral (values (c.bucket_at), (c.old_bucket_at)) h (bucket_at)
    where h.bucket_at is not null;
end $$;
