-- The newest page of each stream of the range.
with tenants as materialized (
    select id, slug from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), newest as (
    select distinct on (p.organization_id, p.data_source_id, p.stream)
           p.organization_id, p.data_source_id, p.stream, p.id, p.fetched_at, p.time_zone, p.currency
    from tenants t
    join public.raw_data_backup p on p.organization_id = t.id and p.source = %(source)s
    where p.window_start < %(end)s and p.window_end >= %(start)s
    order by p.organization_id, p.data_source_id, p.stream, p.fetched_at desc
)
select t.slug as organization, n.fetched_at as at,
       case when s.id is null
            then format('page %%s of %%s belongs to a source that %%s does not have: data_source_id %%s', n.id, n.stream, t.slug, n.data_source_id)
            when n.currency <> s.currency
            then format('%%s: page %%s of %%s is in %%s, the source in %%s', s.source_name, n.id, n.stream, n.currency, s.currency)
            else format('%%s: page %%s of %%s has hours of %%s, the source of %%s', s.source_name, n.id, n.stream, n.time_zone, s.time_zone)
       end as problem,
       count(*) over () as found
from newest n
join tenants t on t.id = n.organization_id
left join public.data_sources s
    on s.organization_id = n.organization_id and s.id = n.data_source_id and s.source_type = %(source)s
where s.id is null or n.currency <> s.currency or n.time_zone <> s.time_zone
order by 2, 1
limit %(most)s
