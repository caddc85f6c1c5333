-- Parsed orders into public.orders, of whichever store. Called by public.ingest_orders.
--
-- Newest version wins: by modification, then by fetch, then by content, so that the order of arrival does not matter.
-- Fills pg_temp.touched_hours, pg_temp.touched_emails and pg_temp.touched_customers.
create or replace function private.apply_orders() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    create temp table changed_orders on commit drop as
    select n.*, old.order_id is null as is_new,
           old.bucket_at as old_bucket_at, old.is_counted as old_is_counted, old.cancelled_bucket as old_cancelled_bucket, old.customer_key as old_customer_key, old.email_hash as old_email_hash,
           old.order_id is null
               or (n.bucket_at, n.is_counted, n.currency, n.items_sold, n.gross_sales, n.discounts, n.shipping, n.taxes,
                   n.total, n.cancelled_bucket) is distinct from
                  (old.bucket_at, old.is_counted, old.currency, old.items_sold, old.gross_sales, old.discounts,
                   old.shipping, old.taxes, old.total, old.cancelled_bucket) as moves_figures,
           old.order_id is null or (n.is_counted, n.currency) is distinct from (old.is_counted, old.currency)
               as moves_refunds,
           coalesce(case when n.customer_id is not null then 'id:' || n.customer_id end,
                    case when n.email_hash is not null then
                        coalesce(case when n.email_hash = old.email_hash then old.customer_key end,
                                 'email:' || encode(n.email_hash, 'hex')) end) as customer_key
    from (
        select distinct on (w.organization_id, w.data_source_id, w.order_id)
               w.*, private.local_hour(w.occurred_at, w.time_zone) as bucket_at,
               private.local_hour(w.cancelled_at, w.time_zone) as cancelled_bucket
        from (
            select p.*, coalesce(p.paid_at, p.placed_at) as occurred_at
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
         shipping, taxes, total, content_md5, cancelled_at, cancelled_bucket)
    select c.organization_id, c.data_source_id, c.bucket_at, c.occurred_at, c.placed_at, c.paid_at, c.modified_at,
           c.fetched_at, c.channel_id, c.is_counted, c.currency, c.order_id, c.status, c.customer_key, c.customer_id, c.email_hash,
           c.items_sold, c.gross_sales, c.discounts, c.shipping, c.taxes, c.total, c.content_md5, c.cancelled_at, c.cancelled_bucket
    from pg_temp.changed_orders c
    order by c.organization_id, c.data_source_id, c.order_id
    on conflict (organization_id, data_source_id, order_id) do update set
        bucket_at = excluded.bucket_at, occurred_at = excluded.occurred_at, placed_at = excluded.placed_at,
        paid_at = excluded.paid_at, modified_at = excluded.modified_at, fetched_at = excluded.fetched_at,
        is_counted = excluded.is_counted, currency = excluded.currency, status = excluded.status,
        customer_key = excluded.customer_key, customer_id = excluded.customer_id, email_hash = excluded.email_hash,
        items_sold = excluded.items_sold, gross_sales = excluded.gross_sales, discounts = excluded.discounts,
        shipping = excluded.shipping, taxes = excluded.taxes, total = excluded.total, content_md5 = excluded.content_md5,
        cancelled_at = excluded.cancelled_at, cancelled_bucket = excluded.cancelled_bucket;

    insert into pg_temp.touched_hours
    select c.organization_id, h.bucket_at
    from pg_temp.changed_orders c
    cross join lateral (values (c.bucket_at), (c.old_bucket_at), (c.cancelled_bucket), (c.old_cancelled_bucket)) h (bucket_at)
    where h.bucket_at is not null and (c.moves_figures or c.customer_key is distinct from c.old_customer_key)
    union
    select r.organization_id, r.bucket_at
    from pg_temp.changed_orders c
    join public.refunds r using (organization_id, data_source_id, order_id)
    where c.moves_refunds;

    -- What was given back or sold on other days: cohorts count it with the order's customer, day and state.
    perform private.mark_cohort_days(array_agg(m.organization_id), array_agg(m.occurred_at))
    from (
        select c.organization_id, k.occurred_at
        from pg_temp.changed_orders c
        cross join lateral (
            select r.occurred_at from public.refunds r
            where r.organization_id = c.organization_id and r.data_source_id = c.data_source_id and r.order_id = c.order_id
            union all
            select s.occurred_at from public.order_sales s
            where s.organization_id = c.organization_id and s.data_source_id = c.data_source_id and s.order_id = c.order_id
        ) k
        where (c.customer_key, c.bucket_at, c.is_counted, c.cancelled_bucket) is distinct from
              (c.old_customer_key, c.old_bucket_at, c.old_is_counted, c.old_cancelled_bucket)
    ) m;

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
