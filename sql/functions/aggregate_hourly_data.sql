-- hourly_facts from entities and report streams, for all organisations of a run at once.
--
-- Writes only rows that differ, so that a rerun with nothing changed writes nothing, not even to the log of the
-- database: hence arrays instead of temporary tables, whose making alone is logged. Rows, ledger and the marks of the
-- days and cohorts that depend on them change in one transaction. An hour of an organisation whose orders are broken, or in a
-- currency without a rate, is failed for that organisation alone and keeps the rows that it had. Returns one row an
-- organisation that had work or has a failure.
--
-- (Custom plans: the length of the arrays decides between reading a day and looking up an hour.)
create or replace function public.aggregate_hourly_data(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, run_id uuid default null)
returns table (organization_id uuid, rows_written bigint, rows_deleted bigint, hours bigint, failed_hours bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning
set plan_cache_mode = force_custom_plan set jit = off as $$
#variable_conflict use_column
declare
    blocked_ids uuid[]; blocked_buckets timestamptz[]; blocked_reasons text[];
    open_ids uuid[]; open_buckets timestamptz[]; open_versions integer[];
    -- Per hour that was open, changed or is blocked; version null: neither open nor changed.
    ids uuid[]; buckets timestamptz[]; versions integer[]; reasons text[];
    written bigint[]; deleted bigint[]; added bigint[];
    closed_ids uuid[]; closed_buckets timestamptz[];
begin
    from_time := date_trunc('hour', from_time);
    organization_ids := private.lock_organizations('hourly', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time - interval '2 days', to_time + interval '2 days');

    -- Read before the rows are: an hour marked in between keeps a newer version, and stays stale.
    select array_agg(o.organization_id), array_agg(o.bucket), array_agg(o.input_version)
    into open_ids, open_buckets, open_versions
    from private.open_buckets('hourly_aggregates', organization_ids, from_time, to_time, '1 hour') o;
    select array_agg(b.organization_id), array_agg(b.bucket), array_agg(b.reason)
    into blocked_ids, blocked_buckets, blocked_reasons
    from private.blocked_hours(organization_ids, from_time, to_time) b;

    select array_agg(organization_id), array_agg(bucket),
           array_agg(case when o.input_version is not null or c.written is not null then coalesce(o.input_version, 1) end),
           array_agg(b.reason), array_agg(coalesce(c.written, 0)), array_agg(coalesce(c.deleted, 0)),
           array_agg(coalesce(c.added, 0))
    into ids, buckets, versions, reasons, written, deleted, added
    from (
        select * from private.write_hourly_facts(
            array(select i from unnest(organization_ids) i where i <> all (coalesce(blocked_ids, '{}'))),
            from_time, to_time, null, null)
        union all
        select * from private.write_hourly_facts(
            array(select distinct i from unnest(blocked_ids) i), from_time, to_time, blocked_ids, blocked_buckets)
    ) c
    full join unnest(open_ids, open_buckets, open_versions) o (organization_id, bucket, input_version)
        using (organization_id, bucket)
    full join unnest(blocked_ids, blocked_buckets, blocked_reasons) b (organization_id, bucket, reason)
        using (organization_id, bucket);
    if ids is null then
        return;
    end if;

    with closed as (
        insert into public.partition_ledger as l
            (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at,
             error, next_attempt_at)
        select k.organization_id, 'hourly_aggregates', k.bucket, case when k.reason is null then 'done' else 'failed' end,
               k.input_version, case when k.reason is null then k.input_version end,
               greatest(coalesce(p.row_count, 0) + k.added, 0), aggregate_hourly_data.run_id, now(), k.reason,
               case when k.reason is not null then now() + interval '5 minutes' end
        from unnest(ids, buckets, versions, reasons, added) k (organization_id, bucket, input_version, reason, added)
        left join public.partition_ledger p
            on p.organization_id = k.organization_id and p.asset = 'hourly_aggregates' and p.bucket = k.bucket
           and p.bucket >= from_time and p.bucket < to_time
        where k.input_version is not null
          -- Failed as before: nothing to write, nor to lock.
          and (k.reason is null or p.status is distinct from 'failed' or p.error is distinct from k.reason)
        order by k.organization_id, k.bucket
        on conflict (organization_id, asset, bucket) do update set
            status = excluded.status,
            computed_version = case when excluded.status = 'done' then l.input_version else l.computed_version end,
            row_count = excluded.row_count, run_id = excluded.run_id,
            computed_at = excluded.computed_at, error = excluded.error,
            attempts = case when excluded.status = 'done' then 0 else l.attempts end,
            next_attempt_at = case when excluded.status = 'failed'
                then greatest(l.next_attempt_at, excluded.next_attempt_at) end
        -- Marked again since it was read: stays stale.
        where l.status = 'done' and excluded.status = 'done'
           or l.input_version = excluded.input_version
        returning organization_id, bucket
    )
    select array_agg(c.organization_id), array_agg(c.bucket) into closed_ids, closed_buckets from closed c;

    -- The days that these hours belong to: of a half-hour zone an hour can touch two.
    perform private.mark_stale('daily_aggregates', array_agg(d.organization_id), array_agg(d.bucket))
    from (
        select distinct k.organization_id, (e.at at time zone g.time_zone)::date::timestamp at time zone 'UTC' as bucket
        from unnest(closed_ids, closed_buckets) k (organization_id, bucket)
        join public.organizations g on g.id = k.organization_id
        cross join lateral (values (k.bucket), (k.bucket + interval '59 minutes 59 seconds')) e (at)
    ) d;
    -- Cohorts go by the organisation's day of each order: where a store has another zone, its local hour can begin in the
    -- bucket and end an hour after it.
    perform private.mark_stale('cohort_analysis', array_agg(d.organization_id), array_agg(d.bucket))
    from (
        select distinct k.organization_id, (e.at at time zone g.time_zone)::date::timestamp at time zone 'UTC' as bucket
        from unnest(closed_ids, closed_buckets) k (organization_id, bucket)
        join public.organizations g on g.id = k.organization_id
        left join (
            select distinct s.organization_id from public.data_sources s
            join public.organizations o on o.id = s.organization_id and o.time_zone <> s.time_zone
        ) z on z.organization_id = k.organization_id
        cross join lateral (values (k.bucket), (k.bucket + interval '59 minutes 59 seconds'),
            (case when z.organization_id is not null then k.bucket + interval '119 minutes 59 seconds' end)) e (at)
        where e.at is not null
    ) d;
    -- Insights that were found before the hour changed. (Those of a new hour are looked for after it, in the same run.)
    perform private.mark_stale('ai_insights', array_agg(k.organization_id), array_agg(k.bucket))
    from unnest(closed_ids, closed_buckets) k (organization_id, bucket)
    join public.partition_ledger l
        on l.organization_id = k.organization_id and l.asset = 'ai_insights' and l.bucket = k.bucket and l.status = 'done'
       and l.bucket >= from_time and l.bucket < to_time;

    return query
    select k.organization_id, sum(k.written)::bigint, sum(k.deleted)::bigint,
           count(*) filter (where k.reason is null), count(k.reason), min(k.reason)
    from unnest(ids, buckets, reasons, written, deleted) k (organization_id, bucket, reason, written, deleted)
    left join unnest(closed_ids, closed_buckets) c (organization_id, bucket) using (organization_id, bucket)
    where c.bucket is not null or k.reason is not null
    group by k.organization_id
    order by k.organization_id;
end $$;

-- Hours that must not be published: orders or tracked events failed, or amounts in a currency without an exchange rate.
create or replace function private.blocked_hours(organization_ids uuid[], from_time timestamptz, to_time timestamptz)
returns table (organization_id uuid, bucket timestamptz, reason text)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select k.organization_id, k.bucket, min(k.reason)
    from (
        select l.organization_id, l.bucket, l.error as reason
        from public.partition_ledger l
        where l.organization_id = any (organization_ids) and l.asset in ('orders', 'event_tracking') and l.status = 'failed'
          and l.bucket >= from_time and l.bucket < to_time
        union all
        select f.organization_id, date_trunc('hour', f.bucket_at),
               format('%s is in %s, the organisation reports in %s, and there is no exchange rate for %s. '
                      'Add one with `analytics rates add %s %s %s RATE`.',
                      f.what, f.from_code, f.to_code, f.on_date, f.from_code, f.to_code, f.on_date)
        from (
            select o.organization_id, o.bucket_at, 'order ' || o.order_id as what, o.currency as from_code,
                   g.currency as to_code, (o.occurred_at at time zone g.time_zone)::date as on_date
            from public.orders o
            join public.organizations g on g.id = o.organization_id and g.currency <> o.currency
            where o.is_counted and o.organization_id = any (organization_ids)
              and o.bucket_at >= from_time and o.bucket_at < to_time
            union all
            select r.organization_id, r.bucket_at, 'refund ' || r.refund_id, coalesce(o.currency, r.currency),
                   g.currency, (r.occurred_at at time zone g.time_zone)::date
            from public.refunds r
            left join public.orders o using (organization_id, data_source_id, order_id)
            join public.organizations g on g.id = r.organization_id and g.currency <> coalesce(o.currency, r.currency)
            where coalesce(o.is_counted, true) and r.organization_id = any (organization_ids)
              and r.bucket_at >= from_time and r.bucket_at < to_time
            union all
            select s.organization_id, s.bucket_at, 'order ' || s.order_id, s.currency, g.currency,
                   (s.occurred_at at time zone g.time_zone)::date
            from public.order_sales s
            join public.organizations g on g.id = s.organization_id and g.currency <> s.currency
            where s.is_counted and s.organization_id = any (organization_ids)
              and s.bucket_at >= from_time and s.bucket_at < to_time
            union all
            select m.organization_id, m.bucket_at, 'the account of source ' || d.source_name, m.currency, g.currency,
                   (m.bucket_at at time zone g.time_zone)::date
            from public.metric_observations m
            join public.data_sources d on d.organization_id = m.organization_id and d.id = m.data_source_id
            join public.organizations g on g.id = m.organization_id
            where m.currency is not null and m.organization_id = any (organization_ids)
              and m.bucket_at >= from_time and m.bucket_at < to_time
        ) f
        where private.exchange_rate(f.from_code, f.to_code, f.on_date) is null
    ) k
    group by k.organization_id, k.bucket
$$;

-- Writes what differs, and returns the hours that it changed; hours named in the blocked arrays stay as they are.
-- A whole day of many organisations whose partition does not exist yet is built aside, in key order and with its key
-- made at the end, and then attached: half the cost of inserting row by row.
create or replace function private.write_hourly_facts(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz,
    blocked_ids uuid[], blocked_buckets timestamptz[])
returns table (organization_id uuid, bucket timestamptz, written bigint, deleted bigint, added bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
#variable_conflict use_column
declare
    day_start timestamptz;
    segment_start timestamptz := from_time;
begin
    if cardinality(organization_ids) = 0 then
        return;
    end if;
    if cardinality(organization_ids) >= 50 and blocked_ids is null then
        for day_start in
            select g from generate_series(date_trunc('day', from_time), to_time - interval '1 day', interval '1 day') g
            where g >= from_time
        loop
            perform pg_advisory_xact_lock(hashtext('analytics.partitions'), hashtext('hourly_facts'));
            if not private.partition_exists(private.partition_name('hourly_facts', 'day', day_start at time zone 'UTC')) then
                return query
                select * from private.merge_hourly_facts(organization_ids, segment_start, day_start, null, null);
                perform private.build_hourly_day(organization_ids, day_start);
                -- First by instant, then by hour: a third faster than cutting every row's instant to its hour.
                return query
                select h.organization_id, date_trunc('hour', h."timestamp"), sum(h.n)::bigint, 0::bigint, sum(h.n)::bigint
                from (
                    select f.organization_id, f."timestamp", count(*) as n
                    from public.hourly_facts f
                    where f."timestamp" >= day_start and f."timestamp" < day_start + interval '1 day'
                    group by 1, 2
                ) h
                group by 1, 2;
                segment_start := day_start + interval '1 day';
            end if;
        end loop;
    end if;
    return query
    select * from private.merge_hourly_facts(organization_ids, segment_start, to_time, blocked_ids, blocked_buckets);
end $$;

-- (No hash aggregate: read along its key the day is grouped without sorting, in 60 % of the time. A few statistics at
-- once, since before autovacuum comes with all of them a rerun would take the day for 0.5 % of its rows.)
create or replace function private.build_hourly_day(organization_ids uuid[], day_start timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set enable_hashagg = off set jit = off
set default_statistics_target = 30 as $$
declare
    child text := private.partition_name('hourly_facts', 'day', day_start at time zone 'UTC');
begin
    perform private.make_partition_table('hourly_facts', child,
        case when day_start < now() - interval '3 days' then 100 else 90 end);
    execute format(
        'insert into partitions.%I (organization_id, "timestamp", metric_id, channel_id, value)
         select s.organization_id, s."timestamp", s.metric_id, s.channel_id, s.value
         from private.hourly_source s
         where s.organization_id = any ($1) and s."timestamp" >= $2 and s."timestamp" < $3
         order by s.organization_id, s.metric_id, s.channel_id, s."timestamp"', child)
    using organization_ids, day_start, day_start + interval '1 day';
    execute format('alter table partitions.%I add primary key (organization_id, metric_id, channel_id, "timestamp")
                    with (fillfactor = 100)', child);
    perform private.attach_partition('hourly_facts', child, 'day', day_start at time zone 'UTC');
    execute format('analyze partitions.%I ("timestamp")', child);
end $$;

-- (Both sides of the comparison come in the order of their keys and are merged, see above. work_mem: a young partition
-- has no statistics, and its side is then sorted.)
create or replace function private.merge_hourly_facts(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz,
    blocked_ids uuid[], blocked_buckets timestamptz[])
returns table (organization_id uuid, bucket timestamptz, written bigint, deleted bigint, added bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set plan_cache_mode = force_custom_plan
set enable_hashagg = off set work_mem = '128MB' set jit = off as $$
#variable_conflict use_column
declare
    missing_days timestamptz[];
begin
    if from_time >= to_time then
        return;
    end if;
    -- Before the comparison, which reads the parent and cannot have it altered meanwhile; only days with rows to come.
    select array_agg(g) into missing_days
    from generate_series(date_trunc('day', from_time), to_time - interval '1 microsecond', interval '1 day') g
    where not private.partition_exists(private.partition_name('hourly_facts', 'day', g at time zone 'UTC'));
    if missing_days is not null then
        perform private.ensure_partitions('hourly_facts', d.day, d.day + interval '1 microsecond')
        from (
            select distinct date_trunc('day', s."timestamp") as day
            from private.hourly_source s
            where s.organization_id = any (organization_ids) and s."timestamp" >= from_time and s."timestamp" < to_time
              and s."timestamp" >= missing_days[1]
              and s."timestamp" < missing_days[cardinality(missing_days)] + interval '1 day'
              and (blocked_ids is null or not exists (
                  select from unnest(blocked_ids, blocked_buckets) b (id, bucket)
                  where b.id = s.organization_id and b.bucket = date_trunc('hour', s."timestamp")))
        ) d
        where d.day = any (missing_days);
    end if;

    return query
    with diff as materialized (
        -- value null: the row has vanished at the source.
        select organization_id, metric_id, channel_id, "timestamp", f.value, e.value is null as is_new
        from (
            select s.organization_id, s.metric_id, s.channel_id, s."timestamp", s.value
            from private.hourly_source s
            where s.organization_id = any (organization_ids) and s."timestamp" >= from_time and s."timestamp" < to_time
              and (blocked_ids is null or not exists (
                  select from unnest(blocked_ids, blocked_buckets) b (id, bucket)
                  where b.id = s.organization_id and b.bucket = date_trunc('hour', s."timestamp")))
        ) f
        full join (
            select h.organization_id, h.metric_id, h.channel_id, h."timestamp", h.value
            from public.hourly_facts h
            where h.organization_id = any (organization_ids) and h."timestamp" >= from_time and h."timestamp" < to_time
              and (blocked_ids is null or not exists (
                  select from unnest(blocked_ids, blocked_buckets) b (id, bucket)
                  where b.id = h.organization_id and b.bucket = date_trunc('hour', h."timestamp")))
        ) e using (organization_id, metric_id, channel_id, "timestamp")
        where f.value is distinct from e.value
    ), vanished as (
        delete from public.hourly_facts h
        using diff d
        -- (The first condition is looked at once: without it the table was read and sorted to delete nothing.)
        where (select bool_or(v.value is null) from diff v)
          and d.value is null and h."timestamp" >= from_time and h."timestamp" < to_time
          and h.organization_id = d.organization_id and h.metric_id = d.metric_id
          and h.channel_id = d.channel_id and h."timestamp" = d."timestamp"
    ), stored as (
        insert into public.hourly_facts (organization_id, "timestamp", metric_id, channel_id, value)
        select d.organization_id, d."timestamp", d.metric_id, d.channel_id, d.value
        from diff d
        where d.value is not null
        order by d.organization_id, d.metric_id, d.channel_id, d."timestamp"
        on conflict (organization_id, metric_id, channel_id, "timestamp")
            do update set value = excluded.value, updated_at = now()
    )
    select d.organization_id, date_trunc('hour', d."timestamp"),
           count(d.value), count(*) - count(d.value), count(*) filter (where d.is_new) - (count(*) - count(d.value))
    from diff d
    group by 1, 2;
end $$;

-- The plan's form: one organisation, what is not taken in yet, from the start of its yesterday to now.
create or replace function public.aggregate_hourly_data(org_id uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    zone text := (select o.time_zone from public.organizations o where o.id = org_id);
    from_time timestamptz := (date_trunc('day', now() at time zone coalesce(zone, 'UTC')) - interval '1 day')
        at time zone coalesce(zone, 'UTC');
begin
    if zone is null then
        raise exception 'no organisation with id %', org_id using hint = 'See `analytics organizations list`.';
    end if;
    perform public.ingest_orders(array[org_id], from_time, date_trunc('hour', now()) + interval '1 hour');
    perform public.summarize_events(array[org_id], from_time, date_trunc('hour', now()) + interval '1 hour');
    perform public.aggregate_hourly_data(array[org_id], from_time, date_trunc('hour', now()) + interval '1 hour');
end $$;
