-- Told by the catalogue: every table of tenants, and every partition, has a valid unique key that begins with organization_id.
with tables as (
    select coalesce(p.relid, t.relation)::regclass as name
    from private.tenant_tables() t
    left join lateral pg_catalog.pg_partition_tree(t.relation) p on true
)
select 'all' as organization, now() as at,
       format('%%s has no valid unique key that begins with organization_id: a row may stand in it twice', t.name) as problem,
       count(*) over () as found
from tables t
where not exists (
      select from pg_catalog.pg_index i
      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = 'organization_id'
      where i.indrelid = t.name and i.indisunique and i.indisvalid and i.indpred is null)
order by t.name::text
limit %(most)s
