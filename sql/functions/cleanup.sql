-- The end of retention: whole partitions are dropped, never rows deleted, and never a partition that a later layer has
-- not taken in. Each function returns every partition that is past its time, and why it stays where it does. (With the owner's
-- rights: only the owner drops a partition, and reads one by its own name.)

create or replace function private.drop_partition(child text) returns void
language plpgsql set search_path = '' set lock_timeout = '5s' as $$
declare
    parent_table text := (select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhparent
                          where i.inhrelid = to_regclass(format('partitions.%I', child)));
begin
    -- From here on what came before is gone, and not merely empty.
    update private.partition_steps s set dropped_to = greatest(s.dropped_to, l.period_end)
    from private.list_partitions(parent_table) l
    where s.parent = parent_table and l.child = drop_partition.child;
    execute format('drop table partitions.%I', child);
end $$;

create or replace function public.cleanup_old_hourly_aggregates(keep_from timestamptz)
returns table (partition text, dropped boolean, reason text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    part record;
    open_days bigint;
    example text;
begin
    for part in select * from private.list_partitions('hourly_facts') l where l.period_end <= keep_from loop
        partition := part.child;
        -- A day is taken in when it is done, and waits for nothing that changed in these hours. (Organisations are found along the
        -- key and hours looked for of open days alone: reading all of a month's hours took longer than all else of their end.)
        execute format($q$
            with recursive holders as (
                (select h.organization_id from partitions.%1$I h order by h.organization_id limit 1)
                union all
                select (select h.organization_id from partitions.%1$I h where h.organization_id > k.organization_id order by h.organization_id limit 1)
                from holders k where k.organization_id is not null
            )
            select count(*), min(g.slug || ' ' || d.date)
            from holders k
            join public.organizations g on g.id = k.organization_id
            cross join lateral (
                select s::date as date
                from generate_series(($1 at time zone g.time_zone)::date, (($2 - interval '1 microsecond') at time zone g.time_zone)::date,
                                     interval '1 day') s
            ) d
            left join public.partition_ledger l
                on l.organization_id = k.organization_id and l.asset = 'daily_aggregates'
               and l.bucket = d.date::timestamp at time zone 'UTC'
            where l.status is distinct from 'done'
              and exists (select from partitions.%1$I h
                          where h.organization_id = k.organization_id and (h."timestamp" at time zone g.time_zone)::date = d.date) $q$, part.child)
        into open_days, example using part.period_start, part.period_end;
        dropped := open_days = 0;
        if dropped then
            perform private.drop_partition(part.child);
            -- Without these marks a later run of the day would take missing hours for empty ones.
            delete from public.partition_ledger l
            where l.asset = 'hourly_aggregates' and l.bucket >= part.period_start and l.bucket < part.period_end;
            reason := null;
        else
            reason := format('%s days are not rolled up, e.g. %s', open_days, example);
        end if;
        return next;
    end loop;
    -- What the hours were made of goes with them.
    for part in
        select l.* from private.list_partitions('metric_observations') l
        where l.period_end <= keep_from
          and not private.partition_exists(private.partition_name('hourly_facts', 'day', l.period_start at time zone 'UTC'))
    loop
        partition := part.child;
        perform private.drop_partition(part.child);
        dropped := true;
        reason := null;
        return next;
    end loop;
end $$;

create or replace function public.cleanup_old_daily_aggregates(keep_from date)
returns table (partition text, dropped boolean, reason text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    part record;
begin
    for part in select * from private.list_partitions('daily_facts') l
                where l.period_end <= keep_from::timestamp at time zone 'UTC' loop
        partition := part.child;
        dropped := true;
        perform private.drop_partition(part.child);
        delete from public.partition_ledger l
        where l.asset = 'daily_aggregates' and l.bucket >= part.period_start and l.bucket < part.period_end;
        return next;
    end loop;
    for part in select * from private.list_partitions('daily_observations') l
                where l.period_end <= keep_from::timestamp at time zone 'UTC' loop
        partition := part.child;
        dropped := true;
        perform private.drop_partition(part.child);
        return next;
    end loop;
end $$;

-- archived: how many pages of which partition are safe in the archive; null where there is none.
drop function if exists public.cleanup_old_raw_data_backup(timestamptz);
create or replace function public.cleanup_old_raw_data_backup(keep_from timestamptz, archived jsonb default null)
returns table (partition text, dropped boolean, reason text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    part record;
    open_pages bigint;
    example text;
    pages bigint;
begin
    for part in select * from private.list_partitions('raw_data_backup') l where l.period_end <= keep_from loop
        partition := part.child;
        if archived is not null then
            -- Nobody puts a page in between the count and the drop.
            execute format('lock table partitions.%I in share mode', part.child);
            execute format('select count(*) from partitions.%I', part.child) into pages;
        end if;
        execute format($q$
            select count(*), min(coalesce(o.slug, p.organization_id::text) || ' ' || p.source || ' ' || p.stream)
            from partitions.%I p left join public.organizations o on o.id = p.organization_id
            where not p.processed $q$, part.child)
        into open_pages, example;
        dropped := open_pages = 0 and (archived is null or pages = coalesce((archived ->> part.child)::bigint, -1));
        if dropped then
            execute format($q$
                delete from public.raw_page_digests d using partitions.%I p
                where d.organization_id = p.organization_id and d.data_source_id = p.data_source_id
                  and d.stream = p.stream and d.content_sha256 = p.content_sha256 $q$, part.child);
            delete from public.raw_report_digests d where d.fetched_at < part.period_end;
            perform private.drop_partition(part.child);
            reason := null;
        else
            reason := case when open_pages > 0 then format('%s pages are not processed, e.g. of %s', open_pages, example)
                else format('%s of its %s pages are in the archive', coalesce(archived ->> part.child, '0'), pages) end;
        end if;
        return next;
    end loop;
end $$;

-- The plan's forms, with the retention that the project ships with.
create or replace function public.cleanup_old_hourly_aggregates() returns void
language plpgsql set search_path = '' as $$
declare
    part record;
begin
    for part in select * from public.cleanup_old_hourly_aggregates(now() - interval '31 days') loop
        raise notice 'hourly_aggregates: %', part.partition || coalesce(' stays: ' || part.reason, ' dropped');
    end loop;
end $$;

create or replace function public.cleanup_old_daily_aggregates() returns void
language plpgsql set search_path = '' as $$
declare
    part record;
begin
    for part in select * from public.cleanup_old_daily_aggregates(current_date - 400) loop
        raise notice 'daily_aggregates: % dropped', part.partition;
    end loop;
end $$;

create or replace function public.cleanup_old_raw_data_backup() returns void
language plpgsql set search_path = '' as $$
declare
    part record;
begin
    for part in select * from public.cleanup_old_raw_data_backup(now() - interval '30 days') loop
        raise notice 'raw_data_backup: %', part.partition || coalesce(' stays: ' || part.reason, ' dropped');
    end loop;
end $$;

-- Whole months of sync logs. Nothing is made of them.
create or replace function private.cleanup_sync_logs(keep_from timestamptz) returns table (partition text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
    for partition in select l.child from private.list_partitions('sync_logs') l where l.period_end <= keep_from loop
        perform private.drop_partition(partition);
        return next;
    end loop;
end $$;
