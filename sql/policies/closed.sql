-- Every table and function is closed until another policy file opens it: only the owner reads, writes and calls.
-- organizations and organization_members may be adopted, and then keep the rights that their application has given.
do $$
declare
    thing text;
begin
    for thing in
        select t::text from private.own_tables() t
        where t not in ('public.organizations'::regclass, 'public.organization_members'::regclass)
        union all
        select format('partitions.%I', c.relname) from pg_catalog.pg_class c
        where c.relnamespace = 'partitions'::regnamespace and c.relkind in ('r', 'p')
    loop
        execute format('alter table %s enable row level security', thing);
        execute format('revoke all on %s from public, anon, authenticated, service_role, analytics_pipeline, analytics_collector, analytics_bi', thing);
    end loop;
    for thing in select f::text from private.own_functions() f loop
        execute format('revoke execute on function %s from public, anon, authenticated, service_role, analytics_pipeline, analytics_collector, analytics_bi', thing);
    end loop;
end $$;
