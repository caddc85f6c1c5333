-- Fields of the range's newest page of each stream beside those of up to four pages before it: one that stood in every record and
-- stands in none, one of another type. Two levels: record, what an object or a list within it holds.
--
-- Twenty organisations are looked at in each run; of more, each once in 24 hours, by the hour at which the range ends: unpacking
-- pages of a thousand organisations takes longer than all else of a tick. No value is shown: it may be somebody's.
with everybody as materialized (
    select id, slug from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), tenants as materialized (
    select id, slug from everybody
    where (select count(*) from everybody) <= 20
       or (hashtext(id::text) & 65535) %% 24 = extract(hour from %(end)s::timestamptz at time zone 'UTC')
), newest as materialized (
    select distinct on (p.organization_id, p.data_source_id, p.stream)
           p.organization_id, p.data_source_id, p.stream, p.fetched_at, p.id
    from tenants t
    join public.raw_data_backup p on p.organization_id = t.id and p.source = %(source)s
    where p.window_start < %(end)s and p.window_end >= %(start)s
    order by p.organization_id, p.data_source_id, p.stream, p.fetched_at desc
), pages as (
    select n.organization_id, n.data_source_id, n.stream, n.fetched_at, n.id as newest_id, e.*
    from newest n
    cross join lateral (
        (select true as is_new, p.id as page_id, p.raw_data from public.raw_data_backup p
         where p.organization_id = n.organization_id and p.source = %(source)s and p.stream = n.stream and p.fetched_at = n.fetched_at
           and p.id = n.id)
        union all
        (select false, p.id, p.raw_data from public.raw_data_backup p
         where p.organization_id = n.organization_id and p.source = %(source)s and p.stream = n.stream
           and p.data_source_id = n.data_source_id and p.fetched_at < n.fetched_at and p.fetched_at > n.fetched_at - interval '14 days'
         order by p.fetched_at desc limit 4)
    ) e
), records as (
    select p.organization_id, p.data_source_id, p.stream, p.newest_id, p.fetched_at, p.is_new, p.page_id, r.record
    from pages p
    cross join lateral (
        -- The metrics and dimensions of a report are its fields.
        select jsonb_object_agg(h.header ->> 'name', coalesce(h.header ->> 'type', 'dimension')) as record
        from jsonb_array_elements(jsonb_path_query_array(p.raw_data, 'lax $.dimensionHeaders[*]')
                                  || jsonb_path_query_array(p.raw_data, 'lax $.metricHeaders[*]')) as h (header)
        where %(source)s = 'google_analytics' and jsonb_typeof(p.raw_data -> 'rows') = 'array'
        having count(*) > 0
        union all
        (select d.record from jsonb_path_query(p.raw_data, 'lax $.data[*]') as d (record) where %(source)s = 'meta_ads' limit 40)
        union all
        (select a.record
         from jsonb_array_elements(case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) as a (record)
         where %(source)s = 'woocommerce' or %(source)s = 'shopify' and p.stream = 'bulk_orders' and not a.record ? '__parentId'
         limit 40)
        union all
        (select n.record from jsonb_path_query(p.raw_data, 'lax $.data.orders.nodes[*]') as n (record)
         where %(source)s = 'shopify' and p.stream = 'orders' limit 40)
    ) r
    where jsonb_typeof(r.record) = 'object'
), holders as materialized (
    -- What has fields: the record, and what lies in it.
    select r.*, null::text as within, r.record as holder from records r
    union all
    select r.*, f.key, f.value from records r cross join lateral jsonb_each(r.record) f where jsonb_typeof(f.value) = 'object'
    union all
    select r.*, f.key || '[]', e.element
    from records r
    cross join lateral jsonb_each(r.record) f
    cross join lateral jsonb_array_elements(case jsonb_typeof(f.value) when 'array' then f.value else '[]' end) as e (element)
    where jsonb_typeof(e.element) = 'object'
), held as (
    select organization_id, data_source_id, stream, within, count(*) filter (where is_new) as new_holders,
           count(*) filter (where not is_new) as old_holders
    from holders group by 1, 2, 3, 4
), fields as (
    select h.organization_id, h.data_source_id, h.stream, h.within, f.key, min(h.fetched_at) as fetched_at,
           count(*) filter (where h.is_new) as new_times, count(*) filter (where not h.is_new) as old_times,
           array_agg(distinct y.type) filter (where h.is_new and y.type <> 'null') as new_types,
           array_agg(distinct y.type) filter (where not h.is_new and y.type <> 'null') as old_types,
           min(h.newest_id::text) as newest_id, min(h.record ->> 'id') filter (where h.is_new) as example
    from holders h
    cross join lateral jsonb_each(h.holder) f
    cross join lateral (select case %(source)s when 'google_analytics' then f.value #>> '{}' else jsonb_typeof(f.value) end as type) y
    group by 1, 2, 3, 4, 5
), changed as (
    select f.organization_id, f.data_source_id, f.fetched_at,
           f.stream || ' ' || coalesce(f.within || '.', '') || f.key as field,
           case when f.new_times = 0 then 'is gone' else format('was %%s, is %%s', array_to_string(f.old_types, ' or '), array_to_string(f.new_types, ' or '))
           end as what,
           f.newest_id, f.example
    from fields f
    join held h on h.organization_id = f.organization_id and h.data_source_id = f.data_source_id and h.stream = f.stream
        and h.within is not distinct from f.within
    -- (Of a report the page is the record.)
    cross join lateral (select case %(source)s when 'google_analytics' then 1 else 3 end as enough) e
    where h.new_holders >= 1 and h.old_holders >= e.enough
      and (f.new_times = 0 and f.old_times = h.old_holders
           or f.old_times >= e.enough and not f.new_types <@ f.old_types)
)
select t.slug as organization, c.fetched_at as at,
       format('%%s %%s (page %%s%%s)', c.field, c.what, c.newest_id, coalesce(', for example of ' || c.example, '')) as problem,
       count(*) over () as found
from changed c
join tenants t on t.id = c.organization_id
order by 2, 1, 3
limit %(most)s
