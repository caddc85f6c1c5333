-- What fields the records of a page have: of the record (within '') and of what an object ("billing.") or the elements of a list
-- ("line_items[].") in it hold, how often each is there in which type, and the id of one record that has it. A row of type 'holder' and
-- field '' counts what could hold them. At most 40 records of a page are looked at. The metrics and dimensions of a Google Analytics
-- report are the fields of one record.
create or replace function private.payload_shape(source text, stream text, page jsonb)
returns table (within text, field text, type text, times bigint, example text)
language sql immutable parallel safe set search_path = '' as $$
    with records as materialized (
        select r.record, r.record ->> 'id' as id
        from (
            select jsonb_object_agg(h.header ->> 'name', coalesce(h.header ->> 'type', 'dimension')) as record
            from jsonb_array_elements(jsonb_path_query_array(page, 'lax $.dimensionHeaders[*]')
                                      || jsonb_path_query_array(page, 'lax $.metricHeaders[*]')) as h (header)
            where source = 'google_analytics' and jsonb_typeof(page -> 'rows') = 'array'
            having count(*) > 0
            union all
            (select d.record from jsonb_path_query(page, 'lax $.data[*]') as d (record) where source = 'meta_ads' limit 40)
            union all
            (select a.record
             from jsonb_array_elements(case jsonb_typeof(page) when 'array' then page else jsonb_build_array(page) end) as a (record)
             where source = 'woocommerce' or source = 'shopify' and stream = 'bulk_orders' and not a.record ? '__parentId'
             limit 40)
            union all
            (select n.record from jsonb_path_query(page, 'lax $.data.orders.nodes[*]') as n (record)
             where source = 'shopify' and stream = 'orders' limit 40)
        ) r
        where jsonb_typeof(r.record) = 'object'
    )
    -- (Counted page by page: sorting every field of every record together with its record was nine tenths of the check.)
    select h.within, f.field, f.type, count(*), min(h.id)
    from (
        select '' as within, r.record as holder, r.id from records r
        union all
        select f.key || '.', f.value, r.id
        from records r cross join lateral jsonb_each(r.record) f where jsonb_typeof(f.value) = 'object'
        union all
        select f.key || '[].', e.element, r.id
        from records r
        cross join lateral jsonb_each(r.record) f
        cross join lateral jsonb_array_elements(case jsonb_typeof(f.value) when 'array' then f.value else '[]' end) as e (element)
        where jsonb_typeof(f.value) = 'array' and jsonb_typeof(e.element) = 'object'
    ) h
    cross join lateral (
        select '' as field, 'holder' as type
        union all
        select e.key, case source when 'google_analytics' then e.value #>> '{}' else jsonb_typeof(e.value) end
        from jsonb_each(h.holder) e
    ) f
    group by h.within, f.field, f.type
$$;
