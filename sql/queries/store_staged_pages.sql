-- Staged pages into raw_data_backup; one whose content is there already only shows that it was seen again. The hours of
-- new pages become stale for the assets that take pages in. Returns what was stored and what was known.
with first_seen as (
    select distinct on (s.content_sha256) s.* from staged_pages s order by s.content_sha256, s.line_number
), known as (
    select f.content_sha256 from first_seen f
    join public.raw_page_digests d
        on d.organization_id = %(organization_id)s and d.data_source_id = %(data_source_id)s
       and d.stream = %(stream)s and d.content_sha256 = f.content_sha256
), digested as (
    insert into public.raw_page_digests
        (organization_id, source, stream, content_sha256, data_source_id, first_fetched_at, last_fetched_at)
    select %(organization_id)s, %(source)s, %(stream)s, f.content_sha256, %(data_source_id)s, f.fetched_at, f.fetched_at
    from first_seen f
    where f.content_sha256 not in (select content_sha256 from known)
    order by f.content_sha256
    on conflict do nothing
    returning content_sha256
), stored as (
    insert into public.raw_data_backup
        (organization_id, fetched_at, window_start, window_end, data_source_id, page, processed, source, stream,
         api_version, content_sha256, raw_data)
    select %(organization_id)s, f.fetched_at, f.instants[1], f.instants[cardinality(f.instants)] + interval '15 minutes',
           %(data_source_id)s, least(f.line_number, 2147483647), f.records = 0, %(source)s, %(stream)s, %(api_version)s,
           f.content_sha256, private.without_erased(%(organization_id)s, %(data_source_id)s, %(source)s, %(stream)s, f.raw_data::jsonb)
    from first_seen f
    join digested d using (content_sha256)
    order by f.fetched_at
    returning content_sha256
), hours as (
    select distinct date_trunc('hour', private.local_hour(i.instant, %(time_zone)s)) as bucket
    from first_seen f
    join stored t using (content_sha256)
    cross join lateral unnest(f.instants) as i (instant)
), marked as (
    select private.mark_stale_apart('orders', array_agg(%(organization_id)s::uuid order by h.bucket), array_agg(h.bucket order by h.bucket)),
           private.mark_stale_apart(%(raw_asset)s, array_agg(%(organization_id)s::uuid order by h.bucket), array_agg(h.bucket order by h.bucket))
    from hours h
)
select (select count(*) from stored) as stored, (select count(*) from staged_pages) as staged,
       coalesce((select sum(f.records) from first_seen f join stored t using (content_sha256)), 0)::bigint as records,
       (select min(bucket) from hours) as first_hour, (select max(bucket) from hours) as last_hour,
       (select count(*) from marked) as marked
