-- Written apart from the pipeline on purpose: straight from the pages, by its own route.
with tenants as materialized (
    select id, slug, currency from public.organizations
    where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), pages as materialized (
    select p.organization_id, p.data_source_id, p.stream, p.id, p.fetched_at, p.raw_data, s.time_zone
    from public.raw_data_backup p
    join tenants t on t.id = p.organization_id
    join public.data_sources s on s.id = p.data_source_id
    where p.source = 'woocommerce' and p.processed and p.stream in ('orders', 'refunds')
      and p.window_start < %(end)s::timestamptz + interval '1 hour' and p.window_end >= %(start)s
), records as materialized (
    select p.organization_id, p.data_source_id, p.stream, e.record ->> 'id' as id, p.fetched_at, p.time_zone, p.id as page_id, e.number,
           coalesce(nullif(e.record ->> 'date_paid_gmt', ''), nullif(e.record ->> 'date_created_gmt', '')) as utc_text,
           coalesce(nullif(e.record ->> 'date_paid', ''), e.record ->> 'date_created') as local_text,
           coalesce(e.record ->> 'date_modified_gmt', e.record ->> 'date_created_gmt', '') as modified,
           e.record ->> 'status' as status, e.record ->> 'parent_id' as parent_id,
           coalesce(e.record ->> 'total', e.record ->> 'amount') as amount
    from pages p
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) with ordinality as e (record, number)
), firsts as materialized (
    select f.*, count(*) over (partition by f.organization_id, f.data_source_id, f.stream, f.id) as alike
    from (
        select r.*, rank() over (partition by r.organization_id, r.data_source_id, r.stream, r.id
                                 order by case r.stream when 'orders' then r.modified end desc, r.fetched_at desc) as place
        from records r
    ) f
    where f.place = 1
), contents as (
    -- Of versions that were modified and fetched at the same moment the content decides. (Only theirs is made: that of every record
    -- took longer than all else.)
    select p.id as page_id, e.number, md5(e.record::text)::uuid as content
    from pages p
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) with ordinality as e (record, number)
    where p.id in (select f.page_id from firsts f where f.alike > 1)
), newest as materialized (
    select distinct on (f.organization_id, f.data_source_id, f.stream, f.id)
           f.organization_id, f.data_source_id, f.stream, f.parent_id, f.status, f.amount,
           private.local_hour(coalesce(private.parse_timestamp(f.utc_text) at time zone 'UTC',
                                       private.parse_timestamp(f.local_text) at time zone f.time_zone), f.time_zone) as bucket_at
    from firsts f
    left join contents c on f.alike > 1 and c.page_id = f.page_id and c.number = f.number
    order by f.organization_id, f.data_source_id, f.stream, f.id, c.content desc
), counted as materialized (
    select n.organization_id, n.data_source_id, n.stream, n.bucket_at, n.parent_id, private.parse_number(n.amount) as amount,
           replace(lower(n.status), 'wc-', '') as status
    from newest n
    where n.bucket_at >= %(start)s and n.bucket_at < %(end)s
), recount as (
    select n.organization_id, n.bucket_at,
           count(*) filter (where n.stream = 'orders') as orders,
           coalesce(sum(n.amount) filter (where n.stream = 'orders'), 0) as ordered,
           count(*) filter (where n.stream = 'refunds') as refunds,
           coalesce(sum(abs(n.amount)) filter (where n.stream = 'refunds'), 0) as refunded
    from counted n
    where case n.stream
          when 'orders' then n.status not in ('pending', 'failed', 'cancelled', 'auto-draft', 'draft', 'checkout-draft', 'trash')
          else not exists (select from public.orders o
                           where o.organization_id = n.organization_id and o.data_source_id = n.data_source_id
                             and o.order_id = n.parent_id and not o.is_counted) end
    group by 1, 2
), published as (
    select f.organization_id, f."timestamp" as bucket_at,
           coalesce(sum(f.value) filter (where f.metric_id = 41), 0) as orders,
           coalesce(sum(f.value) filter (where f.metric_id = 48), 0) as refunds,
           coalesce(sum(f.value) filter (where f.metric_id = 47), 0) as refunded,
           coalesce(sum(f.value) filter (where f.metric_id = 50), 0) as total_sales
    from public.hourly_facts f
    join tenants t on t.id = f.organization_id
    where f.channel_id = 3 and f.metric_id in (41, 47, 48, 50) and f."timestamp" >= %(start)s and f."timestamp" < %(end)s
    group by 1, 2
), unjudged as materialized (
    -- Raw pages gone, another currency, a broken record: the recount cannot know.
    select o.organization_id, o.bucket_at
    from public.orders o join tenants t on t.id = o.organization_id
    where o.bucket_at >= %(start)s and o.bucket_at < %(end)s and o.channel_id = 3
      and (o.currency <> t.currency
           or o.fetched_at < (select min(d.first_fetched_at) from public.raw_page_digests d
                              where d.organization_id = o.organization_id))
    union
    select r.organization_id, r.bucket_at
    from public.refunds r join tenants t on t.id = r.organization_id
    where r.bucket_at >= %(start)s and r.bucket_at < %(end)s and r.channel_id = 3
      and (r.currency <> t.currency
           or r.fetched_at < (select min(d.first_fetched_at) from public.raw_page_digests d
                              where d.organization_id = r.organization_id))
    union
    select q.organization_id, h.bucket
    from public.quarantine q join tenants t on t.id = q.organization_id
    cross join lateral generate_series(date_trunc('hour', greatest(q.window_start, %(start)s::timestamptz)) - interval '45 minutes',
                                       least(q.window_end, %(end)s::timestamptz), interval '15 minutes') as h (bucket)
    where q.level = 'record' and q.window_start < %(end)s and q.window_end >= %(start)s
)
select t.slug as organization, d.bucket_at as at,
       format('raw: %%s orders of %%s, %%s refunds of %%s; published: %%s orders, %%s refunds of %%s, total sales %%s',
              d.orders, d.ordered, d.refunds, d.refunded, d.p_orders, d.p_refunds, d.p_refunded, d.p_total) as problem,
       count(*) over () as found
from (
    select organization_id, bucket_at, coalesce(r.orders, 0) as orders, coalesce(r.ordered, 0) as ordered,
           coalesce(r.refunds, 0) as refunds, coalesce(r.refunded, 0) as refunded, coalesce(p.orders, 0) as p_orders,
           coalesce(p.refunds, 0) as p_refunds, coalesce(p.refunded, 0) as p_refunded, coalesce(p.total_sales, 0) as p_total
    from recount r full join published p using (organization_id, bucket_at)
) d
join tenants t on t.id = d.organization_id
join public.partition_ledger l
    on l.organization_id = d.organization_id and l.asset = 'hourly_aggregates' and l.status = 'done'
   and l.bucket = date_trunc('hour', d.bucket_at)
left join unjudged u on u.organization_id = d.organization_id and u.bucket_at = d.bucket_at
where u.organization_id is null
  and (d.orders, d.refunds, d.refunded, d.ordered - d.refunded) is distinct from (d.p_orders, d.p_refunds, d.p_refunded, d.p_total)
order by 2, 1
limit %(most)s
