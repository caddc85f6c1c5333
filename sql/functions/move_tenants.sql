-- An organisation's rows out into files and in again. The statements come of the catalogue, with its names quoted.

-- Columns that are stored as they are written: not those that the server computes.
create or replace function private.written_columns(relation regclass) returns text
language sql stable set search_path = '' as $$
    select string_agg(format('%I', a.attname), ', ' order by a.attname)
    from pg_catalog.pg_attribute a
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
$$;

-- One COPY a table, those that others refer to first. Left out: sealed secrets of sources, write keys (event_keys).
create or replace function private.export_statements(organization uuid)
returns table (table_name text, column_names text, statement text)
language sql stable set search_path = '' as $$
    select t.table_name, private.written_columns(t.relation),
           format('copy (select %s from %s where organization_id = %L) to stdout (encoding ''UTF8'')',
                  case when t.relation = 'public.data_sources'::regclass
                       then replace(private.written_columns(t.relation), 'connection_config', 'connection_config - ''$secrets''')
                       else private.written_columns(t.relation) end,
                  t.relation, organization)
    from private.tenant_tables() t
    where t.relation <> 'public.event_keys'::regclass
    order by (select count(*) from pg_catalog.pg_constraint c
              where c.conrelid = t.relation and c.contype = 'f'
                and c.confrelid in (select o.relation from private.tenant_tables() o)), t.table_name
$$;

-- Makes pg_temp.imported_rows for a table; returns the statement that fills it.
create or replace function private.stage_import(table_name text) returns text
language plpgsql set search_path = '' set client_min_messages = warning as $$
declare
    relation regclass := (select t.relation from private.tenant_tables() t where t.table_name = stage_import.table_name);
begin
    drop table if exists pg_temp.imported_rows;
    execute format('create temporary table imported_rows on commit drop as select %s from %s limit 0',
                   private.written_columns(relation), relation);
    return format('copy pg_temp.imported_rows (%s) from stdin (encoding ''UTF8'')', private.written_columns(relation));
end $$;

-- The staged rows into their table, with the partitions that they need; returns how many. Rows of another organisation
-- are refused: a folder could name one that is not its own.
create or replace function private.store_import(organization uuid, table_name text) returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
declare
    relation regclass := (select t.relation from private.tenant_tables() t where t.table_name = store_import.table_name);
    stored bigint;
    cut record;
begin
    if exists (select from pg_temp.imported_rows i where i.organization_id is distinct from organization) then
        raise exception '% holds rows of another organisation than %', table_name, organization
            using errcode = 'check_violation';
    end if;
    select s.parent, s.step, a.attname into cut
    from pg_catalog.pg_partitioned_table p
    join pg_catalog.pg_class c on c.oid = p.partrelid
    join private.partition_steps s on s.parent = c.relname
    join pg_catalog.pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    where p.partrelid = relation;
    if found then
        execute format('select private.ensure_partitions(%L, d.at, d.at + interval ''1 microsecond'') '
                       'from (select distinct date_trunc(%L, i.%I::timestamptz, ''UTC'') as at from pg_temp.imported_rows i order by 1) d',
                       cut.parent, cut.step, cut.attname);
    end if;
    execute format('insert into %s (%s) overriding system value select %2$s from pg_temp.imported_rows',
                   relation, private.written_columns(relation));
    get diagnostics stored = row_count;
    return stored;
end $$;

-- The organisation itself, from the settings that its export noted. (One exported while it was being deleted is whole again.)
create or replace function private.import_organization(settings jsonb) returns void
language sql set search_path = '' as $$
    insert into public.organizations select * from jsonb_populate_record(null::public.organizations, settings - 'deleting_since')
$$;

-- The schema's version. With the owner's rights: the ledger of migrations is nobody else's to read.
create or replace function private.newest_migration() returns text
language sql stable security definer set search_path = '' as $$
    select max(a.file) from migrations.applied a where not a.replaced
$$;
