-- The pages of pg_temp.source_pages into raw_data_backup: of many sources at once, in one transaction.
--
-- A page is stored, and how far its stream has come, together or not at all. A worker whose lease on the source is gone
-- stores nothing (outcome lost). A page that says what was known already is not stored again (known). The hours of
-- records become stale for the assets that take them in; the figures of a report whose pages are all there replace what
-- stood in its window, and only hours and days that changed become stale. Returns one row a slot: created and updated
-- are records that no entity is there for yet and others, or figures of a report.
create or replace function private.store_source_pages()
returns table (slot integer, outcome text, created bigint, updated bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
declare
    held integer[];
    fresh integer[];
begin
    with locked as materialized (
        select s.organization_id, s.id, s.lease_owner
        from public.data_sources s
        where (s.organization_id, s.id) in (select p.organization_id, p.data_source_id from pg_temp.source_pages p)
        order by s.organization_id, s.id
        for no key update
    ), holding as materialized (
        select p.slot, p.organization_id, p.data_source_id
        from pg_temp.source_pages p
        join locked l on l.organization_id = p.organization_id and l.id = p.data_source_id and l.lease_owner = p.lease_owner
    ), extended as (
        update public.data_sources s set lease_until = now() + private.lease_time()
        from holding h
        where s.organization_id = h.organization_id and s.id = h.data_source_id
          and s.lease_until < now() + private.lease_time() / 2
    )
    select coalesce(array_agg(h.slot), '{}') into held from holding h;

    perform private.ensure_partitions('raw_data_backup', min(p.fetched_at), max(p.fetched_at) + interval '1 microsecond')
    from pg_temp.source_pages p where p.slot = any (held) having count(*) > 0;

    with digested as (
        insert into public.raw_page_digests as d
            (organization_id, source, stream, content_sha256, data_source_id, first_fetched_at, last_fetched_at)
        select distinct on (p.organization_id, p.data_source_id, p.stream, p.content_sha256)
               p.organization_id, p.source, p.stream, p.content_sha256, p.data_source_id, p.fetched_at, p.fetched_at
        from pg_temp.source_pages p
        where p.slot = any (held) and not p.is_report
        order by p.organization_id, p.data_source_id, p.stream, p.content_sha256, p.slot
        on conflict do nothing
        returning d.organization_id, d.data_source_id, d.stream, d.content_sha256
    ), reported as (
        select p.slot, p.organization_id, p.data_source_id, p.stream, p.window_start, p.window_end, p.fetched_at,
               -- Of several pages only all of them together say the same; that is not looked into.
               case when p.page = 1 then p.content_sha256 else sha256(convert_to(p.fetch_id::text, 'UTF8')) end as digest
        from pg_temp.source_pages p
        where p.slot = any (held) and p.is_report and p.is_last
    ), told as (
        -- Said last of this window, and nothing was said since of one that overlaps it.
        select r.slot
        from reported r
        join public.raw_report_digests d using (organization_id, data_source_id, stream, window_start, window_end)
        where d.content_sha256 = r.digest and not exists (
            select from public.raw_report_digests o
            where o.organization_id = r.organization_id and o.data_source_id = r.data_source_id and o.stream = r.stream
              and o.fetched_at > d.fetched_at and o.window_start < r.window_end and o.window_end > r.window_start)
    ), noted as (
        insert into public.raw_report_digests as d
            (organization_id, data_source_id, stream, window_start, window_end, fetched_at, content_sha256)
        select r.organization_id, r.data_source_id, r.stream, r.window_start, r.window_end, r.fetched_at, r.digest
        from reported r
        order by 1, 2, 3, 4, 5
        on conflict (organization_id, data_source_id, stream, window_start, window_end) do update
            set fetched_at = excluded.fetched_at, content_sha256 = excluded.content_sha256
            where d.fetched_at <= excluded.fetched_at
    )
    select coalesce(array_agg(k.slot), '{}') into fresh
    from (
        select min(p.slot) as slot
        from pg_temp.source_pages p join digested using (organization_id, data_source_id, stream, content_sha256)
        where not p.is_report
        group by p.organization_id, p.data_source_id, p.stream, p.content_sha256
        union all
        select p.slot from pg_temp.source_pages p
        where p.slot = any (held) and p.is_report and p.slot not in (select t.slot from told t)
    ) k;

    -- Pages of an answer that was never complete: another one takes its place.
    update public.raw_data_backup r set processed = true
    from pg_temp.source_pages p
    where p.slot = any (held) and p.is_report and p.page = 1
      and r.organization_id = p.organization_id and r.source = p.source and r.stream = p.stream and not r.processed
      and r.data_source_id = p.data_source_id and r.fetch_id <> p.fetch_id;

    insert into public.raw_data_backup
        (organization_id, fetched_at, window_start, window_end, data_source_id, page, processed, source, stream,
         api_version, content_sha256, fetch_id, time_zone, currency, request, raw_data)
    select p.organization_id, p.fetched_at,
           case when p.is_report then p.window_start else coalesce(p.instants[1], p.fetched_at) end,
           case when p.is_report then p.window_end
                else coalesce(p.instants[cardinality(p.instants)], p.fetched_at) + interval '15 minutes' end,
           p.data_source_id, p.page, case when p.is_report then p.is_last else p.records = 0 end, p.source, p.stream,
           p.api_version, p.content_sha256, p.fetch_id, p.time_zone, p.currency, p.request,
           private.without_erased(p.organization_id, p.data_source_id, p.source, p.stream, p.raw_data)
    from pg_temp.source_pages p
    where p.slot = any (fresh)
    order by p.fetched_at;

    insert into public.sync_streams as t
        (organization_id, data_source_id, stream, purpose, window_start, window_end, position, fetch_id, covered_from,
         covered_to, completed_at, updated_at)
    select distinct on (p.organization_id, p.data_source_id, p.task_stream, p.purpose)
           p.organization_id, p.data_source_id, p.task_stream, p.purpose, p.task_start, p.task_end, p.position, p.fetch_id,
           case when p.is_last then p.task_start end, case when p.is_last then least(p.task_end, p.fetched_at) end,
           case when p.is_last then p.fetched_at end, now()
    from pg_temp.source_pages p
    where p.slot = any (held)
    order by p.organization_id, p.data_source_id, p.task_stream, p.purpose, p.slot desc
    on conflict (organization_id, data_source_id, stream, purpose) do update set
        window_start = excluded.window_start, window_end = excluded.window_end, position = excluded.position,
        fetch_id = excluded.fetch_id, updated_at = now(), completed_at = coalesce(excluded.completed_at, t.completed_at),
        -- A window that touches what is covered widens it; one apart from it begins anew. Nothing is covered beyond the moment of
        -- asking: what says so was noted while the worker's clock was ahead.
        covered_from = case when excluded.covered_to is null then t.covered_from
            when excluded.covered_from <= t.covered_to and excluded.covered_to >= t.covered_from
                then least(t.covered_from, excluded.covered_from)
            else excluded.covered_from end,
        covered_to = case when excluded.covered_to is null then t.covered_to
            when excluded.covered_from <= t.covered_to and excluded.covered_to >= t.covered_from
                then least(greatest(t.covered_to, excluded.covered_to), excluded.completed_at)
            else excluded.covered_to end;

    perform private.delete_vanished_orders(fresh);

    -- An answer of several pages is taken in with its last one.
    update public.raw_data_backup r set processed = true
    from pg_temp.source_pages p
    where p.slot = any (fresh) and p.is_report and p.is_last and p.page > 1
      and r.organization_id = p.organization_id and r.source = p.source and r.stream = p.stream
      and r.fetch_id = p.fetch_id and not r.processed;

    return query
    select p.slot,
           case when p.slot <> all (held) then 'lost' when p.slot = any (fresh) then 'stored' else 'known' end,
           coalesce(e.created, r.created, 0), coalesce(e.updated, r.updated, 0)
    from pg_temp.source_pages p
    left join private.count_new_records(fresh) e using (slot)
    left join private.take_in_reports(fresh) r using (slot);

    -- Last, so that the ledger's rows are locked for a moment only, and in one order by everybody.
    perform private.mark_stale('orders', array_agg(h.organization_id), array_agg(h.bucket)),
            private.mark_stale('raw_woocommerce', array_agg(h.organization_id) filter (where h.source = 'woocommerce'),
                               array_agg(h.bucket) filter (where h.source = 'woocommerce')),
            private.mark_stale('raw_shopify', array_agg(h.organization_id) filter (where h.source = 'shopify'),
                               array_agg(h.bucket) filter (where h.source = 'shopify'))
    from (
        select distinct p.organization_id, p.source, date_trunc('hour', private.local_hour(i.instant, p.time_zone)) as bucket
        from pg_temp.source_pages p
        cross join lateral unnest(p.instants) as i (instant)
        where p.slot = any (fresh) and not p.is_report
    ) h
    having count(*) > 0;
end $$;

-- How long a worker holds a source without storing a page.
create or replace function private.lease_time() returns interval
language sql immutable parallel safe set search_path = '' as $$ select interval '3 minutes' $$;

-- Of the records on these pages: how many are not there yet as orders, refunds or customers, and how many are.
create or replace function private.count_new_records(slots integer[])
returns table (slot integer, created bigint, updated bigint)
language sql stable set search_path = '' as $$
    select k.slot, count(*) filter (where not k.is_there), count(*) filter (where k.is_there)
    from (
        select p.slot, case
                   when p.stream = 'refunds' then exists (
                       select from public.refunds r where r.organization_id = p.organization_id
                         and r.data_source_id = p.data_source_id and r.refund_id = i.key)
                   when p.stream = 'customers' then exists (
                       select from public.customers c where c.organization_id = p.organization_id
                         and c.data_source_id = p.data_source_id and c.customer_key = 'id:' || i.key)
                   else exists (
                       select from public.orders o where o.organization_id = p.organization_id
                         and o.data_source_id = p.data_source_id and o.order_id = i.key)
               end as is_there
        from pg_temp.source_pages p
        cross join lateral unnest(p.keys) as i (key)
        where p.slot = any (slots) and not p.is_report
    ) k
    group by k.slot
$$;
