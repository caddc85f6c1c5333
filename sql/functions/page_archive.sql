-- Raw pages out into the archive, and back. The statements come of the catalogue, with its names quoted.

-- The COPY of the pages of a period; organization_id is the first column, and each organisation's pages follow one another.
create or replace function private.archive_statement(period_start timestamptz, period_end timestamptz)
returns table (statement text, column_names text)
language sql stable set search_path = '' as $$
    select format('copy (select organization_id, %s from public.raw_data_backup where fetched_at >= %L and fetched_at < %L '
                  'order by organization_id, source, stream, fetched_at, id) to stdout (encoding ''UTF8'')',
                  c.names, period_start, period_end), 'organization_id, ' || c.names
    from (
        select string_agg(format('%I', a.attname), ', ' order by a.attname) as names
        from pg_catalog.pg_attribute a
        where a.attrelid = 'public.raw_data_backup'::regclass and a.attnum > 0 and not a.attisdropped and a.attname <> 'organization_id'
    ) c
$$;

-- Makes pg_temp.archived_pages; returns the statement that fills it, and its columns.
create or replace function private.stage_archived_pages(out statement text, out column_names text)
language plpgsql set search_path = '' set client_min_messages = warning as $$
begin
    select s.column_names into column_names from private.archive_statement(now(), now()) s;
    drop table if exists pg_temp.archived_pages;
    execute format('create temporary table archived_pages on commit drop as select %s from public.raw_data_backup limit 0', column_names);
    statement := format('copy pg_temp.archived_pages (%s) from stdin (encoding ''UTF8'')', column_names);
end $$;

-- The staged pages of an organisation into raw_data_backup; one that is there stays as it is. Returns how many were not there.
-- Their digests come with them, so that the same pages are not stored again when they are fetched or imported once more.
create or replace function private.restore_raw_pages(organization uuid) returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
declare
    stored bigint;
begin
    if exists (select from pg_temp.archived_pages p where p.organization_id is distinct from organization) then
        raise exception 'the file holds pages of another organisation than %', organization using errcode = 'check_violation';
    end if;
    if cardinality(private.lock_organizations('raw', array[organization])) = 0 then
        return 0;
    end if;
    -- The archive is as old as it is: who was erased since does not come back with it.
    update pg_temp.archived_pages p
    set raw_data = w.page
    from (select a.ctid as place, private.without_erased(a.organization_id, a.data_source_id, a.source::text, a.stream, a.raw_data) as page
          from pg_temp.archived_pages a where a.source in ('woocommerce', 'shopify')) w
    where w.place = p.ctid and w.page <> p.raw_data;
    perform private.ensure_partitions('raw_data_backup', d.day, d.day + interval '1 microsecond')
    from (select distinct date_trunc('day', p.fetched_at) as day from pg_temp.archived_pages p order by 1) d;
    execute (select format('insert into public.raw_data_backup (%s) select %1$s from pg_temp.archived_pages on conflict do nothing',
                           s.column_names) from private.archive_statement(now(), now()) s);
    get diagnostics stored = row_count;
    insert into public.raw_page_digests
        (organization_id, source, stream, content_sha256, data_source_id, first_fetched_at, last_fetched_at)
    select p.organization_id, p.source, p.stream, p.content_sha256, p.data_source_id, min(p.fetched_at), max(p.fetched_at)
    from pg_temp.archived_pages p
    where p.data_source_id is not null
    group by 1, 2, 3, 4, 5
    order by 1, 5, 3, 4
    on conflict do nothing;
    return stored;
end $$;
