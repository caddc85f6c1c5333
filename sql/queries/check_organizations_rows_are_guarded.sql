-- Told by the catalogue: what stands between a caller and another tenant's rows, on every table of the project and every partition.
with tables as (
    select c.oid, c.oid::regclass as name, c.relrowsecurity, c.relkind
    from private.own_tables() t
    join pg_catalog.pg_class c on c.oid = t
    union
    select c.oid, c.oid::regclass, c.relrowsecurity, c.relkind
    from private.own_tables() t
    cross join lateral pg_catalog.pg_partition_tree(t) p
    join pg_catalog.pg_class c on c.oid = p.relid
), faults as (
    select t.name::text as thing, 'has no row-level security' as fault from tables t where not t.relrowsecurity
    union all
    select p.polrelid::regclass::text, format('lets everybody in by the policy %%s', p.polname)
    from pg_catalog.pg_policy p join tables t on t.oid = p.polrelid
    where p.polroles && (array(select r.oid from pg_catalog.pg_roles r where r.rolname = 'anon') || 0::oid)
    union all
    select p.polrelid::regclass::text, format('shows every tenant''s rows by the policy %%s', p.polname)
    from pg_catalog.pg_policy p join tables t on t.oid = p.polrelid
    where p.polroles && array(select r.oid from pg_catalog.pg_roles r where r.rolname = 'authenticated')
      and pg_catalog.pg_get_expr(coalesce(p.polqual, p.polwithcheck), p.polrelid) = 'true'
      and exists (select from pg_catalog.pg_attribute a where a.attrelid = p.polrelid and a.attname = 'organization_id' and not a.attisdropped)
    union all
    select v.oid::regclass::text, 'reads with its owner''s rights'
    from pg_catalog.pg_class v
    join pg_catalog.pg_depend d on d.refclassid = 'pg_class'::regclass and d.deptype = 'n'
    join pg_catalog.pg_rewrite r on r.oid = d.objid and r.ev_class = v.oid
    join tables t on t.oid = d.refobjid
    where v.relkind = 'v' and v.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and not coalesce(v.reloptions::text ~ 'security_invoker=(true|on|1)', false)
    group by v.oid
)
select 'all' as organization, now() as at, format('%%s %%s: `analytics migrate` closes it', thing, fault) as problem, count(*) over () as found
from faults
order by thing
limit %(most)s
