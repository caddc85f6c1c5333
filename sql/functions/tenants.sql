-- What belongs to one organisation, told by the catalogue: a table that is added later is counted and deleted, too.

-- Every table of the project with a uuid column organization_id, of a partitioned one the parent. An application's tables in schema
-- public are none of ours to empty; private.memberships follows organization_members.
create or replace function private.tenant_tables() returns table (relation regclass, table_name text)
language sql stable set search_path = '' as $$
    select c.oid::regclass, n.nspname || '.' || c.relname
    from private.own_tables() t
    join pg_catalog.pg_class c on c.oid = t and not c.relispartition
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped
    where a.atttypid = 'uuid'::regtype and c.oid <> 'private.memberships'::regclass
    order by 2
$$;

-- The same cut into what one transaction deletes: a partition each, and the tables that have none.
create or replace function private.tenant_pieces() returns table (piece regclass, table_name text)
language sql stable set search_path = '' as $$
    select coalesce(p.relid, t.relation)::regclass, t.table_name
    from private.tenant_tables() t
    left join lateral pg_catalog.pg_partition_tree(t.relation) p on true
    join pg_catalog.pg_class c on c.oid = coalesce(p.relid, t.relation) and c.relkind = 'r'
    order by t.table_name, c.relname
$$;

create or replace function private.count_tenant_rows(organization uuid) returns table (table_name text, row_count bigint)
language plpgsql stable set search_path = '' as $$
declare
    tenant record;
begin
    for tenant in select * from private.tenant_tables() loop
        table_name := tenant.table_name;
        execute format('select count(*) from %s where organization_id = $1', tenant.relation) into row_count using organization;
        return next;
    end loop;
end $$;

-- Nothing new comes in: schedules leave it out, its write keys are refused, a sync under way loses its lease and with it
-- the right to store.
create or replace function private.close_organization(organization uuid) returns void
language sql set search_path = '' as $$
    update public.organizations o
    set is_active = false, deleting_since = coalesce(o.deleting_since, now()), updated_at = now()
    where o.id = organization and (o.is_active or o.deleting_since is null);
    update public.event_keys k set revoked_at = greatest(now(), k.created_at)
    where k.organization_id = organization and k.revoked_at is null;
    update public.data_sources s
    set is_active = false, connection_config = s.connection_config - '$secrets', lease_owner = null, lease_until = null, sync_status = 'idle', updated_at = now()
    where s.organization_id = organization and (s.is_active or s.lease_owner is not null or s.connection_config ? '$secrets');
$$;

-- Deletes an organisation's rows of one piece. Refused while it is active: its writers would go on behind the deletion.
create or replace function private.delete_tenant_rows(organization uuid, piece regclass) returns bigint
language plpgsql set search_path = '' as $$
declare
    deleted bigint;
begin
    if exists (select from public.organizations o where o.id = organization and o.is_active) then
        raise exception 'organisation % is active again: delete it anew', organization using errcode = 'object_in_use';
    end if;
    if not exists (select from private.tenant_pieces() p where p.piece = delete_tenant_rows.piece) then
        return 0;  -- dropped by maintenance meanwhile
    end if;
    perform private.seize_organization(organization);
    execute format('delete from %s where organization_id = $1', piece) using organization;
    get diagnostics deleted = row_count;
    return deleted;
end $$;

-- The end of a deletion, in one transaction: what a writer brought in behind it, then the organisation itself. Called for
-- an id that is no organisation's any more it deletes what is left of it.
create or replace function private.delete_organization_row(organization uuid) returns bigint
language plpgsql set search_path = '' as $$
declare
    deleted bigint;
begin
    select coalesce(sum(private.delete_tenant_rows(organization, p.piece)), 0) into deleted from private.tenant_pieces() p;
    delete from public.organizations o where o.id = organization;
    return deleted;
end $$;
