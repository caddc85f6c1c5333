-- How much room the tables take: of the catalogue alone, and of a sample of pages where rows are told apart by organisation.

-- Tables of the project and of Dagster (schema dagster), partitions each with the table that they belong to. size: with indexes
-- and TOAST. period: of a partition, half-open, UTC.
create or replace function private.table_pieces()
returns table (piece regclass, table_name text, is_dagster boolean, size bigint, heap bigint, indexes bigint, period_start timestamptz, period_end timestamptz)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select c.oid::regclass, n.nspname || '.' || r.relname, n.nspname = 'dagster',
           pg_total_relation_size(c.oid), pg_relation_size(c.oid), pg_indexes_size(c.oid), l.period_start, l.period_end
    from pg_catalog.pg_class c
    left join pg_catalog.pg_inherits i on i.inhrelid = c.oid and c.relispartition
    join pg_catalog.pg_class r on r.oid = coalesce(i.inhparent, c.oid)
    join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    left join (
        select p.child, p.period_start, p.period_end
        from private.partition_steps s cross join lateral private.list_partitions(s.parent) p
    ) l on c.relispartition and l.child = c.relname
    where c.relkind = 'r' and (r.oid::regclass in (select t from private.own_tables() t) or n.nspname in ('dagster', 'migrations'))
$$;

-- One row a table. per_month: bytes of 30 days, by the partitions that closed in the last 90 days; null where a table has none
-- to tell it by. (A partition tells by its own dates how fast its table grows: nothing has to be noted day by day.)
create or replace function private.table_sizes()
returns table (table_name text, pieces bigint, total bigint, heap bigint, indexes bigint, toast bigint, oldest timestamptz, per_month numeric)
language sql stable set search_path = '' as $$
    select p.table_name, count(*), sum(p.size)::bigint, sum(p.heap)::bigint, sum(p.indexes)::bigint,
           sum(p.size - p.heap - p.indexes)::bigint, min(p.period_start),
           round(sum(p.size) filter (where k.is_recent)
                 / nullif(extract(epoch from max(p.period_end) filter (where k.is_recent)
                                           - min(p.period_start) filter (where k.is_recent)), 0) * 86400 * 30)
    from private.table_pieces() p
    cross join lateral (select p.period_end <= now() and p.period_end > now() - interval '90 days' as is_recent) k
    group by p.table_name
    order by 3 desc, 1
$$;

-- Each organisation's part of the bytes, an estimate: of every table and partition a sample of some 40 pages is read, and its
-- bytes are shared out as the sampled rows are. So the cost goes with the number of partitions, not of organisations or rows.
-- (With the owner's rights: partitions are read by their own names.)
create or replace function private.organization_sizes()
returns table (organization_id uuid, total bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    part record;
    ids uuid[] := '{}'; bytes numeric[] := '{}';
    part_ids uuid[]; part_bytes numeric[];
    pages_of bigint;
begin
    for part in
        select p.* from private.table_pieces() p
        join pg_attribute a on a.attrelid = p.piece and a.attname = 'organization_id' and a.atttypid = 'uuid'::regtype and not a.attisdropped
        where p.heap > 0
    loop
        pages_of := part.heap / current_setting('block_size')::bigint;
        execute format($q$
            select array_agg(s.organization_id), array_agg(s.share)
            from (
                select t.organization_id, $2 * count(*) / sum(count(*)) over () as share
                from %s t tablesample system ($1) repeatable (7)
                group by 1
            ) s $q$, part.piece)
        into part_ids, part_bytes using least(100, 4000.0 / pages_of)::real, part.size;
        if part_ids is not null then
            ids := ids || part_ids;
            bytes := bytes || part_bytes;
        end if;
    end loop;
    return query
    select u.id, sum(u.bytes)::bigint from unnest(ids, bytes) u (id, bytes) group by 1;
end $$;
