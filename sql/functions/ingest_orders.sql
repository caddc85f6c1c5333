-- Raw pages of the stores (WooCommerce, Shopify) into orders, sales, refunds and customers, for all organisations of a run
-- at once.
--
-- Takes every unprocessed page whose records lie in or across [from_time, to_time); a page is taken in whole, once.
-- In the same transaction: broken records go to quarantine and their hours are failed for that organisation alone,
-- hourly buckets whose figures moved become stale, pages are marked processed, the ledger's hours of asset 'orders'
-- are closed. Returns one row an organisation that had work or has a failure.
drop function if exists public.ingest_woocommerce(uuid[], timestamptz, timestamptz, uuid);
create or replace function public.ingest_orders(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, run_id uuid default null)
returns table (organization_id uuid, pages bigint, records bigint, changed bigint, broken bigint, failed_hours bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
#variable_conflict use_column
begin
    organization_ids := private.lock_organizations('entities', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time, to_time);

    drop table if exists pg_temp.open_pages, pg_temp.parsed_orders, pg_temp.parsed_refunds, pg_temp.parsed_customers,
        pg_temp.touched_hours, pg_temp.touched_emails, pg_temp.touched_customers, pg_temp.changed_orders,
        pg_temp.changed_refunds, pg_temp.changed_customers, pg_temp.identified, pg_temp.first_orders,
        pg_temp.broken_records, pg_temp.open_hours, pg_temp.parsed_sales, pg_temp.changed_sales;
    create temp table open_pages on commit drop as
    select p.organization_id, p.data_source_id, p.id as page_id, p.source, p.stream, p.fetched_at, p.request,
           coalesce(p.window_start, p.fetched_at) as window_start, coalesce(p.window_end, p.fetched_at) as window_end,
           coalesce(p.time_zone, s.time_zone) as time_zone, coalesce(p.currency, s.currency) as currency,
           private.without_erased_now(p.organization_id, p.data_source_id, p.source, p.stream, p.raw_data) as raw_data
    from public.raw_data_backup p
    join public.data_sources s on s.organization_id = p.organization_id and s.id = p.data_source_id
    where p.organization_id = any (organization_ids) and p.source in ('woocommerce', 'shopify') and not p.processed
      -- A half-hour zone's hour begins up to an hour before the instants in it.
      and coalesce(p.window_start, p.fetched_at) < to_time + interval '1 hour'
      and coalesce(p.window_end, p.fetched_at) >= from_time;
    create temp table parsed_orders (
        organization_id uuid, data_source_id uuid, page_id uuid, fetched_at timestamptz, window_start timestamptz,
        window_end timestamptz, channel_id smallint, is_counted boolean, order_id text, status text, currency text, customer_id text, email_hash bytea,
        placed_at timestamptz, paid_at timestamptz, cancelled_at timestamptz, modified_at timestamptz, items_sold numeric, gross_sales numeric,
        discounts numeric, shipping numeric, taxes numeric, total numeric, content_md5 uuid, problem_field text,
        problem text, record jsonb, time_zone text) on commit drop;
    create temp table parsed_sales (
        organization_id uuid, data_source_id uuid, fetched_at timestamptz, time_zone text, sale_id text, order_id text,
        agreement_id text, reason text, action text, line_type text, currency text, occurred_at timestamptz,
        quantity numeric, total numeric, taxes numeric, discounts numeric) on commit drop;
    create temp table parsed_refunds (
        organization_id uuid, data_source_id uuid, page_id uuid, fetched_at timestamptz, window_start timestamptz,
        window_end timestamptz, refund_id text, order_id text, currency text, occurred_at timestamptz, amount numeric,
        taxes numeric, shipping numeric, items_refunded numeric, content_md5 uuid, problem_field text, problem text,
        record jsonb, time_zone text) on commit drop;
    create temp table parsed_customers (
        organization_id uuid, data_source_id uuid, page_id uuid, fetched_at timestamptz, window_start timestamptz,
        window_end timestamptz, customer_id text, email_hash bytea, registered_at timestamptz, modified_at timestamptz,
        problem_field text, problem text, record jsonb) on commit drop;
    create temp table touched_hours (organization_id uuid, bucket_at timestamptz) on commit drop;
    create temp table touched_emails (organization_id uuid, data_source_id uuid, email_hash bytea) on commit drop;
    create temp table touched_customers (organization_id uuid, data_source_id uuid, customer_key text) on commit drop;

    if exists (select from pg_temp.open_pages) then
        perform private.parse_woocommerce_orders();
        perform private.parse_woocommerce_refunds();
        perform private.parse_woocommerce_customers();
        perform private.parse_shopify_orders();
        perform private.apply_orders();
        perform private.apply_sales();
        perform private.apply_woocommerce_refunds();
        perform private.apply_woocommerce_customers();
        perform private.identify_guests();
        perform private.find_first_orders();
        perform private.quarantine_broken_records();

        perform private.mark_stale('hourly_aggregates',
            array_agg(t.organization_id order by t.organization_id, t.bucket),
            array_agg(t.bucket order by t.organization_id, t.bucket))
        from (select distinct organization_id, date_trunc('hour', bucket_at) as bucket from pg_temp.touched_hours) t;

        update public.raw_data_backup p set processed = true
        from pg_temp.open_pages o
        where p.organization_id = o.organization_id and p.source = o.source and p.stream = o.stream
          and p.fetched_at = o.fetched_at and p.id = o.page_id;
    else
        create temp table broken_records (organization_id uuid) on commit drop;
    end if;

    create temp table open_hours on commit drop as
    select b.organization_id, b.bucket, b.input_version, q.reason, case when l.status = 'failed' then l.error end as old_reason
    from private.open_buckets('orders', organization_ids, date_trunc('hour', from_time), to_time, '1 hour') b
    left join private.broken_hours(organization_ids, from_time, to_time) q
        on q.organization_id = b.organization_id and q.bucket = b.bucket
    left join public.partition_ledger l
        on l.organization_id = b.organization_id and l.asset = 'orders' and l.bucket = b.bucket and l.status = 'failed'
       and l.bucket >= date_trunc('hour', from_time) and l.bucket < to_time;

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at, error,
         next_attempt_at)
    select h.organization_id, 'orders', h.bucket, case when h.reason is null then 'done' else 'failed' end,
           h.input_version, case when h.reason is null then h.input_version end, coalesce(e.entities, 0),
           ingest_orders.run_id, now(), h.reason,
           case when h.reason is not null then now() + interval '5 minutes' end
    from pg_temp.open_hours h
    left join (
        select k.organization_id, date_trunc('hour', k.bucket_at) as bucket, count(*) as entities
        from (
            select o.organization_id, o.bucket_at from public.orders o
            where o.organization_id = any (organization_ids) and o.bucket_at >= from_time and o.bucket_at < to_time
            union all
            select r.organization_id, r.bucket_at from public.refunds r
            where r.organization_id = any (organization_ids) and r.bucket_at >= from_time and r.bucket_at < to_time
            union all
            select s.organization_id, s.bucket_at from public.order_sales s
            where s.organization_id = any (organization_ids) and s.bucket_at >= from_time and s.bucket_at < to_time
        ) k
        group by 1, 2
    ) e using (organization_id, bucket)
    -- Failed as before: nothing to write, nor to lock.
    where h.reason is null or h.reason is distinct from h.old_reason
    order by h.organization_id, h.bucket
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status, computed_version = coalesce(excluded.computed_version, l.computed_version),
        row_count = excluded.row_count, run_id = excluded.run_id, computed_at = excluded.computed_at, error = excluded.error,
        attempts = case when excluded.status = 'done' then 0 else l.attempts end,
        next_attempt_at = case when excluded.status = 'failed'
            then greatest(l.next_attempt_at, excluded.next_attempt_at) end
    -- Marked again since it was read: stays stale.
    where l.input_version = excluded.input_version;

    -- A broken or discarded record moves no figure, and yet its hour fails, or is sound again.
    perform private.mark_stale('hourly_aggregates', array_agg(h.organization_id order by h.organization_id, h.bucket),
                               array_agg(h.bucket order by h.organization_id, h.bucket))
    from pg_temp.open_hours h
    where h.reason is distinct from h.old_reason;

    return query
    select w.organization_id,
           (select count(*) from pg_temp.open_pages p where p.organization_id = w.organization_id),
           (select count(*) from pg_temp.parsed_orders p where p.organization_id = w.organization_id)
             + (select count(*) from pg_temp.parsed_refunds p where p.organization_id = w.organization_id)
             + (select count(*) from pg_temp.parsed_customers p where p.organization_id = w.organization_id),
           (select count(distinct (t.bucket_at)) from pg_temp.touched_hours t where t.organization_id = w.organization_id),
           (select count(*) from pg_temp.broken_records b where b.organization_id = w.organization_id),
           count(h.reason), min(h.reason)
    from (select organization_id from pg_temp.open_pages union select organization_id from pg_temp.open_hours) w
    left join pg_temp.open_hours h on h.organization_id = w.organization_id
    group by w.organization_id
    order by w.organization_id;
end $$;

-- Broken records of the pages in hand into quarantine; those that a sound version has replaced are closed.
create or replace function private.quarantine_broken_records() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    create temp table broken_records on commit drop as
    select p.organization_id, 'orders' as stream, p.data_source_id, p.order_id as record_key, p.problem_field, p.problem,
           coalesce(p.paid_at, p.placed_at) as occurred_at, p.window_start, p.window_end,
           case when p.modified_at <= now() + interval '1 day' then p.modified_at end as modified_at, p.fetched_at, p.record
    from pg_temp.parsed_orders p where p.problem is not null
    union all
    select p.organization_id, 'refunds', p.data_source_id, p.refund_id, p.problem_field, p.problem, p.occurred_at,
           p.window_start, p.window_end, null, p.fetched_at, p.record
    from pg_temp.parsed_refunds p where p.problem is not null
    union all
    select p.organization_id, 'customers', p.data_source_id, p.customer_id, p.problem_field, p.problem, p.registered_at,
           p.window_start, p.window_end, null, p.fetched_at, p.record
    from pg_temp.parsed_customers p where p.problem is not null;

    update public.quarantine q set resolution = 'superseded', resolved_at = now(), content = null
    from (
        select organization_id, data_source_id, 'orders' as stream, order_id as record_key, max(modified_at) as modified_at
        from pg_temp.parsed_orders where problem is null group by 1, 2, 3, 4
        union all
        select organization_id, data_source_id, 'refunds', refund_id, max(fetched_at)
        from pg_temp.parsed_refunds where problem is null group by 1, 2, 3, 4
        union all
        select organization_id, data_source_id, 'customers', customer_id, max(modified_at)
        from pg_temp.parsed_customers where problem is null group by 1, 2, 3, 4
    ) s
    where q.organization_id = s.organization_id and q.data_source_id = s.data_source_id and q.stream = s.stream
      and q.record_key = s.record_key and q.level = 'record' and q.resolution is null
      and s.modified_at >= coalesce(q.record_modified_at, s.modified_at);

    if not exists (select from pg_temp.broken_records) then
        return;
    end if;
    -- A record without a usable date of its own could belong to any hour of its page. One that comes late, when a newer
    -- sound version is there, is only noted.
    insert into public.quarantine
        (organization_id, source, stream, data_source_id, level, record_key, field, reason, window_start, window_end,
         record_modified_at, content, content_sha256, resolution, resolved_at)
    select b.organization_id, s.source_type, b.stream, b.data_source_id, 'record', b.record_key, b.problem_field,
           private.hide_emails(b.organization_id, b.problem),
           case when d.dated then b.occurred_at else b.window_start end,
           case when d.dated then b.occurred_at else b.window_end end,
           b.modified_at, case when not n.superseded then convert_to(private.hide_emails(b.organization_id, b.record::text), 'UTF8') end,
           sha256(convert_to(b.record::text, 'UTF8')),
           case when n.superseded then 'superseded' end, case when n.superseded then now() end
    from pg_temp.broken_records b
    join public.data_sources s on s.organization_id = b.organization_id and s.id = b.data_source_id
    cross join lateral (
        select b.problem_field not in ('date_created_gmt', 'date_paid_gmt', 'processedAt', 'agreements')
               and b.occurred_at between timestamptz '1990-01-01 00:00+00' and now() + interval '1 day' as dated
    ) d
    cross join lateral (
        select exists (
            select from (
                select o.modified_at, o.fetched_at from public.orders o
                where b.stream = 'orders' and o.organization_id = b.organization_id
                  and o.data_source_id = b.data_source_id and o.order_id = b.record_key
                union all
                select p.modified_at, p.fetched_at from pg_temp.parsed_orders p
                where b.stream = 'orders' and p.problem is null and p.organization_id = b.organization_id
                  and p.data_source_id = b.data_source_id and p.order_id = b.record_key
                union all
                select null, r.fetched_at from public.refunds r
                where b.stream = 'refunds' and r.organization_id = b.organization_id
                  and r.data_source_id = b.data_source_id and r.refund_id = b.record_key
                union all
                select null, p.fetched_at from pg_temp.parsed_refunds p
                where b.stream = 'refunds' and p.problem is null and p.organization_id = b.organization_id
                  and p.data_source_id = b.data_source_id and p.refund_id = b.record_key
                union all
                select null, p.fetched_at from pg_temp.parsed_customers p
                where b.stream = 'customers' and p.problem is null and p.organization_id = b.organization_id
                  and p.data_source_id = b.data_source_id and p.customer_id = b.record_key
            ) s
            where s.modified_at > b.modified_at
               or s.modified_at is not distinct from coalesce(b.modified_at, s.modified_at) and s.fetched_at > b.fetched_at
        ) as superseded
    ) n
    order by b.fetched_at, b.record_key
    on conflict do nothing;
end $$;

-- Hours that cannot be trusted: the first broken record of each, and what to do.
create or replace function private.broken_hours(organization_ids uuid[], from_time timestamptz, to_time timestamptz)
returns table (organization_id uuid, bucket timestamptz, reason text)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select q.organization_id, h.bucket,
           format('%s%s. Correct it at the source and sync again, or `analytics quarantine discard %s`.',
                  (array_agg(q.reason order by q.quarantined_at, q.id))[1],
                  case when count(*) > 1 then format(' (and %s more)', count(*) - 1) else '' end,
                  (array_agg(q.id order by q.quarantined_at, q.id))[1])
    from public.quarantine q
    cross join lateral generate_series(
        date_trunc('hour', greatest(q.window_start, from_time)),
        least(q.window_end, to_time - interval '1 microsecond'), interval '1 hour') as h (bucket)
    where q.organization_id = any (organization_ids) and q.level = 'record' and q.resolution is null
      and q.window_start < to_time and q.window_end >= from_time
    group by q.organization_id, h.bucket
$$;

-- An operator's word that a broken record may be left out. Its hours are computed again.
create or replace function public.discard_quarantined(quarantine_id uuid) returns text
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    found_row public.quarantine;
begin
    update public.quarantine q set resolution = 'discarded', resolved_at = now()
    where q.id = quarantine_id and q.resolution is null
    returning * into found_row;
    if found_row.id is null then
        return null;
    end if;
    perform private.mark_stale_apart('orders', array_agg(found_row.organization_id), array_agg(l.bucket)),
            private.mark_stale_apart('hourly_aggregates', array_agg(found_row.organization_id), array_agg(l.bucket))
    from public.partition_ledger l
    where l.organization_id = found_row.organization_id and l.asset = 'orders' and l.status = 'failed'
      and l.bucket > found_row.window_start - interval '1 hour' and l.bucket <= found_row.window_end;
    return found_row.reason;
end $$;
