-- Range partitions: named, made, found, dropped.

create or replace function private.partition_name(parent text, step text, period_start timestamp) returns text
language sql immutable set search_path = '' as $$
    select parent || '_' || to_char(period_start, case step when 'hour' then 'YYYYMMDDHH24' when 'day' then 'YYYYMMDD' else 'YYYYMM' end)
$$;

-- Asked again after waiting for a lock, to_regclass answers from a cache that the wait does not renew: two transactions
-- that made the same partition at once ended in DuplicateTable.
create or replace function private.partition_exists(child text) returns boolean
language plpgsql volatile set search_path = '' as $$
begin
    return exists (select from pg_catalog.pg_class c
                   where c.relname = child and c.relnamespace = 'partitions'::regnamespace);
end $$;

-- Makes the partitions of a table that the half-open range [from_time, to_time) needs and that are not there.
-- Built apart and then attached: attaching lets readers and writers of the other partitions go on.
-- No default partition: a stray row in one would block the making of its own.
-- (With the owner's rights: whoever writes rows owns no table.)
create or replace function private.ensure_partitions(parent_table text, from_time timestamptz, to_time timestamptz)
returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    cut private.partition_steps;
    period_start timestamp;
    child text;
    made integer := 0;
begin
    select * into strict cut from private.partition_steps s where s.parent = parent_table;
    for period_start in
        select g from generate_series(date_trunc(cut.step, from_time at time zone 'UTC'),
                                      (to_time at time zone 'UTC') - interval '1 microsecond',
                                      ('1 ' || cut.step)::interval) g
        where to_regclass('partitions.' || private.partition_name(parent_table, cut.step, g)) is null
    loop
        child := private.partition_name(parent_table, cut.step, period_start);
        perform pg_advisory_xact_lock(hashtext('analytics.partitions'), hashtext(parent_table));
        if private.partition_exists(child) then
            -- Made by another transaction while this one waited: what this one knows of the parent is renewed only by a lock
            -- that it does not hold yet. Without it the next insert found no partition for its row.
            execute format('lock table partitions.%I in access share mode', child);
            continue;
        end if;
        perform private.make_partition_table(parent_table, child, cut.fill_factor);
        perform private.attach_partition(parent_table, child, cut.step, period_start);
        made := made + 1;
    end loop;
    return made;
end $$;

-- An empty table shaped like the parent, not yet attached, without keys; closed to everybody but its owner.
create or replace function private.make_partition_table(parent_table text, child text, fill_factor integer)
returns void
language plpgsql set search_path = '' as $$
begin
    execute format('create table partitions.%I (like public.%I including defaults including constraints '
                   'including storage including generated) with (fillfactor = %s)', child, parent_table, fill_factor);
    execute format('alter table partitions.%I enable row level security', child);
    execute format('revoke all on partitions.%I from public', child);
end $$;

create or replace function private.attach_partition(parent_table text, child text, step text, period_start timestamp)
returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    execute format('alter table public.%I attach partition partitions.%I for values from (%L) to (%L)',
                   parent_table, child, period_start, period_start + ('1 ' || step)::interval);
end $$;

-- The partitions of a table with their half-open bounds, oldest first.
create or replace function private.list_partitions(parent_table text)
returns table (child text, period_start timestamptz, period_end timestamptz)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select c.relname::text, b.period_start at time zone 'UTC',
           (b.period_start + ('1 ' || s.step)::interval) at time zone 'UTC'
    from private.partition_steps s
    join pg_catalog.pg_inherits i on i.inhparent = to_regclass('public.' || s.parent)
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    cross join lateral (
        select to_timestamp(substring(c.relname from '\d+$'),
                            case s.step when 'hour' then 'YYYYMMDDHH24' when 'day' then 'YYYYMMDD' else 'YYYYMM' end)
                   at time zone 'UTC' as period_start
    ) b
    where s.parent = parent_table
    order by b.period_start
$$;

-- Partitions kept ready for what is about to be written, for every partitioned table.
create or replace function public.make_partitions_ahead() returns table (parent text, made integer)
language sql set search_path = '' as $$
    select s.parent, private.ensure_partitions(s.parent, now() - interval '1 day', now() + s.ahead)
    from private.partition_steps s
$$;

-- A closed day is read, no longer written: in key order and without room for updates it takes 126 bytes a row
-- instead of 146, and a tenant's week lies on 49 pages instead of 1,700.
create or replace function public.close_hourly_partitions(before timestamptz default now() - interval '36 hours')
returns table (partition text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    for partition in
        select l.child from private.list_partitions('hourly_facts') l
        join pg_catalog.pg_class c on c.oid = to_regclass('partitions.' || l.child)
        where l.period_end <= before and 'fillfactor=100' <> all (coalesce(c.reloptions, '{}'))
    loop
        execute format('alter table partitions.%I set (fillfactor = 100)', partition);
        execute format('cluster partitions.%I using %I', partition,
            (select ic.relname from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
             where i.indrelid = to_regclass('partitions.' || partition) and i.indisprimary));
        execute format('alter index partitions.%I set (fillfactor = 100)',
            (select ic.relname from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
             where i.indrelid = to_regclass('partitions.' || partition) and i.indisprimary));
        return next;
    end loop;
end $$;
