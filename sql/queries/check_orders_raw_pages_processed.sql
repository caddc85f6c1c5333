with pages as materialized (
    select p.organization_id, p.data_source_id, p.source, p.stream, p.id, p.processed, p.window_start, p.raw_data, o.slug
    from public.raw_data_backup p
    join public.organizations o on o.id = p.organization_id
    where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
      and p.source in ('woocommerce', 'shopify') and p.window_start < %(end)s and p.window_end >= %(start)s
), violations as (
    select slug as organization, window_start as at,
           format('page %%s of %%s is not processed: materialize orders for its hours', id, stream) as problem
    from pages where not processed
    union all
    select p.slug, p.window_start, format('%%s %%s of page %%s is neither an entity nor in quarantine', p.stream, r.key, p.id)
    from pages p
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) as e (record)
    cross join lateral (select e.record ->> 'id' as key) r
    where p.processed and p.source = 'woocommerce' and p.stream in ('orders', 'refunds') and r.key is not null
      and not exists (select from public.orders o where p.stream = 'orders' and o.organization_id = p.organization_id
                        and o.data_source_id = p.data_source_id and o.order_id = r.key)
      and not exists (select from public.refunds f where p.stream = 'refunds' and f.organization_id = p.organization_id
                        and f.data_source_id = p.data_source_id and f.refund_id = r.key)
      and not exists (select from public.quarantine q where q.organization_id = p.organization_id
                        and q.stream = p.stream and q.record_key = r.key)
)
select organization, at, problem, count(*) over () as found from violations order by at, organization limit %(most)s
