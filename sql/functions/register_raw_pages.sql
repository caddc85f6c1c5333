-- Closes the hours of a raw asset in the ledger, with the number of pages that hold records of each, for organisations
-- that have a source of that type. An organisation of which a source could not be read (failed_ids, and why) has its hours
-- failed: they are asked for again.
drop function if exists public.register_raw_pages(text, uuid[], timestamptz, timestamptz, uuid);
create or replace function public.register_raw_pages(
    source_type text, organization_ids uuid[], from_time timestamptz, to_time timestamptz, run_id uuid default null,
    failed_ids uuid[] default '{}', failed_reasons text[] default '{}')
returns table (organization_id uuid, hours bigint, pages bigint, failed_hours bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' as $$
#variable_conflict use_column
begin
    from_time := date_trunc('hour', from_time);
    organization_ids := array(
        select distinct s.organization_id from public.data_sources s
        where s.organization_id = any (organization_ids) and s.source_type = register_raw_pages.source_type);
    organization_ids := private.lock_organizations('raw', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time, to_time);
    return query
    with reasons as materialized (
        select f.id as organization_id, min(f.reason) as reason
        from unnest(failed_ids, failed_reasons) as f (id, reason) group by f.id
    ), open as materialized (
        select b.organization_id, b.bucket, b.input_version
        from private.open_buckets('raw_' || source_type, organization_ids, from_time, to_time, '1 hour') b
        union
        -- Done before, and now not to be read.
        select l.organization_id, l.bucket, l.input_version
        from public.partition_ledger l join reasons r using (organization_id)
        where l.asset = 'raw_' || source_type and l.bucket >= from_time and l.bucket < to_time
    ), counted as materialized (
        select p.organization_id, h.bucket, count(*) as pages
        from public.raw_data_backup p
        cross join lateral generate_series(
            date_trunc('hour', greatest(p.window_start, from_time)),
            least(p.window_end, to_time) - interval '1 microsecond', interval '1 hour') as h (bucket)
        where p.organization_id = any (organization_ids) and p.source = source_type
          and p.window_start < to_time and p.window_end >= from_time
        group by p.organization_id, h.bucket
    ), closed as (
        insert into public.partition_ledger as l
            (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at, error,
             next_attempt_at)
        select o.organization_id, 'raw_' || source_type, o.bucket, case when r.reason is null then 'done' else 'failed' end,
               o.input_version, case when r.reason is null then o.input_version end, coalesce(c.pages, 0),
               register_raw_pages.run_id, now(), r.reason, case when r.reason is not null then now() + interval '5 minutes' end
        from open o
        left join counted c using (organization_id, bucket)
        left join reasons r using (organization_id)
        order by o.organization_id, o.bucket
        on conflict (organization_id, asset, bucket) do update set
            status = excluded.status, computed_version = coalesce(excluded.computed_version, l.computed_version),
            row_count = excluded.row_count, run_id = excluded.run_id, computed_at = excluded.computed_at,
            error = excluded.error,
            attempts = case when excluded.status = 'done' then 0 else l.attempts end,
            next_attempt_at = case when excluded.status = 'failed' then greatest(l.next_attempt_at, excluded.next_attempt_at) end
        where l.input_version = excluded.input_version
        returning l.organization_id, l.row_count, l.status, l.error
    )
    select c.organization_id, count(*), sum(c.row_count)::bigint, count(*) filter (where c.status = 'failed'), min(c.error)
    from closed c group by c.organization_id;
end $$;
