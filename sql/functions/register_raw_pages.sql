-- Closes the hours of a raw asset in the ledger, with the number of pages that hold records of each.
create or replace function public.register_raw_pages(
    source_type text, organization_ids uuid[], from_time timestamptz, to_time timestamptz, run_id uuid default null)
returns table (organization_id uuid, hours bigint, pages bigint)
language plpgsql set search_path = '' set timezone = 'UTC' as $$
#variable_conflict use_column
begin
    from_time := date_trunc('hour', from_time);
    perform private.lock_organizations('raw', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time, to_time);
    return query
    with open as materialized (
        select * from private.open_buckets('raw_' || source_type, organization_ids, from_time, to_time, '1 hour')
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
            (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at)
        select o.organization_id, 'raw_' || source_type, o.bucket, 'done', o.input_version, o.input_version,
               coalesce(c.pages, 0), register_raw_pages.run_id, now()
        from open o left join counted c using (organization_id, bucket)
        order by o.organization_id, o.bucket
        on conflict (organization_id, asset, bucket) do update set
            status = 'done', computed_version = excluded.computed_version, row_count = excluded.row_count,
            run_id = excluded.run_id, computed_at = excluded.computed_at, error = null, attempts = 0,
            next_attempt_at = null
        where l.input_version = excluded.input_version
        returning organization_id, row_count
    )
    select c.organization_id, count(*), sum(c.row_count)::bigint from closed c group by c.organization_id;
end $$;
