-- Orders that their store has deleted for good. A store gives no sign of it: they are missing from the list of all orders
-- placed in a window (stream order_ids, which also names those in the trash). They stay as rows with status deleted,
-- and count no more. Called by private.store_source_pages.
create or replace function private.delete_vanished_orders(slots integer[]) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
declare
    lists integer[];
    owners uuid[];
begin
    select array_agg(p.slot), array_agg(distinct p.organization_id) into lists, owners
    from pg_temp.source_pages p
    where p.slot = any (slots) and p.is_report and p.is_last and p.source = 'woocommerce' and p.stream = 'order_ids';
    if lists is null then
        return;
    end if;
    perform private.lock_organizations('entities', owners);
    drop table if exists pg_temp.touched_hours, pg_temp.touched_customers, pg_temp.first_orders, pg_temp.vanished_orders;
    create temp table touched_hours (organization_id uuid, bucket_at timestamptz) on commit drop;
    create temp table touched_customers (organization_id uuid, data_source_id uuid, customer_key text) on commit drop;

    create temp table vanished_orders on commit drop as
    with pages as (
        select p.slot, p.raw_data from pg_temp.source_pages p where p.slot = any (lists)
        union all
        select p.slot, r.raw_data
        from pg_temp.source_pages p
        join public.raw_data_backup r
            on r.organization_id = p.organization_id and r.source = p.source and r.stream = p.stream
           and r.fetch_id = p.fetch_id and r.page < p.page and r.fetched_at > p.fetched_at - interval '2 days'
        where p.slot = any (lists) and p.page > 1
    ), listed as materialized (
        select g.slot, e.record ->> 'id' as order_id
        from pages g cross join lateral jsonb_array_elements(g.raw_data) as e (record)
    ), first_fetch as (
        select p.slot, coalesce(min(r.fetched_at), p.fetched_at) as at
        from pg_temp.source_pages p
        left join public.raw_data_backup r
            on r.organization_id = p.organization_id and r.source = p.source and r.stream = p.stream
           and r.fetch_id = p.fetch_id and r.fetched_at > p.fetched_at - interval '2 days'
        where p.slot = any (lists)
        group by p.slot, p.fetched_at
    )
    select o.organization_id, o.data_source_id, o.order_id, o.bucket_at, o.customer_key, p.fetched_at
    from pg_temp.source_pages p
    join first_fetch f using (slot)
    join public.orders o on o.organization_id = p.organization_id and o.data_source_id = p.data_source_id
    -- One that is younger than the list, or was fetched after it, may be missing from it.
    where o.placed_at >= p.window_start and o.placed_at < p.window_end and o.fetched_at < f.at and o.status <> 'deleted'
      and not exists (select from listed l where l.slot = p.slot and l.order_id = o.order_id);

    update public.orders o
    set status = 'deleted', is_counted = false, modified_at = greatest(o.modified_at, v.fetched_at), fetched_at = v.fetched_at,
        content_md5 = md5('deleted')::uuid
    from pg_temp.vanished_orders v
    where o.organization_id = v.organization_id and o.data_source_id = v.data_source_id and o.order_id = v.order_id;

    insert into pg_temp.touched_hours
    select v.organization_id, v.bucket_at from pg_temp.vanished_orders v
    union
    select v.organization_id, r.bucket_at
    from pg_temp.vanished_orders v join public.refunds r using (organization_id, data_source_id, order_id);
    insert into pg_temp.touched_customers
    select v.organization_id, v.data_source_id, v.customer_key from pg_temp.vanished_orders v where v.customer_key is not null;
    perform private.find_first_orders();
    perform private.mark_stale('hourly_aggregates', array_agg(t.organization_id), array_agg(t.bucket))
    from (select distinct organization_id, date_trunc('hour', bucket_at) as bucket from pg_temp.touched_hours) t
    having count(*) > 0;
end $$;
