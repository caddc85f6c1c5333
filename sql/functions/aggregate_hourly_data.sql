-- hourly_facts from entities and report streams, for all organisations of a run at once.
--
-- Writes only rows that differ, so that a rerun with nothing changed writes nothing, not even to the log of the
-- database. Rows, ledger and the marks of the days that depend on them change in one transaction. An hour of an
-- organisation whose orders are broken, or in a currency without a rate, is failed for that organisation alone and
-- keeps the rows that it had. Returns one row an organisation that had work or has a failure.
create or replace function public.aggregate_hourly_data(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, run_id uuid default null)
returns table (organization_id uuid, rows_written bigint, rows_deleted bigint, hours bigint, failed_hours bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
#variable_conflict use_column
declare
    blocked_ids uuid[];
    clean_ids uuid[];
begin
    from_time := date_trunc('hour', from_time);
    perform private.lock_organizations('hourly', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time - interval '2 days', to_time + interval '2 days');
    drop table if exists pg_temp.open_hours, pg_temp.blocked_hours, pg_temp.hourly_changes, pg_temp.closed_hours;

    create temp table open_hours on commit drop as
    select * from private.open_buckets('hourly_aggregates', organization_ids, from_time, to_time, '1 hour');
    create temp table blocked_hours on commit drop as
    select * from private.blocked_hours(organization_ids, from_time, to_time);
    create temp table hourly_changes (organization_id uuid, bucket timestamptz, written bigint, deleted bigint, added bigint)
        on commit drop;

    select array_agg(distinct b.organization_id) into blocked_ids from pg_temp.blocked_hours b;
    if blocked_ids is null then
        perform private.write_hourly_facts(organization_ids, from_time, to_time, false);
    else
        select array_agg(o) into clean_ids from unnest(organization_ids) o where o <> all (blocked_ids);
        perform private.write_hourly_facts(coalesce(clean_ids, '{}'), from_time, to_time, false);
        perform private.write_hourly_facts(blocked_ids, from_time, to_time, true);
    end if;

    create temp table closed_hours (organization_id uuid, bucket timestamptz) on commit drop;
    with written as (
        insert into public.partition_ledger as l
            (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at,
             error, next_attempt_at)
        select k.organization_id, 'hourly_aggregates', k.bucket, case when b.reason is null then 'done' else 'failed' end,
               coalesce(h.input_version, 1), case when b.reason is null then coalesce(h.input_version, 1) end,
               greatest(coalesce(c.added, 0), 0), run_id, now(), b.reason,
               case when b.reason is not null then now() + interval '5 minutes' end
        from (select organization_id, bucket from pg_temp.open_hours
              union select organization_id, bucket from pg_temp.hourly_changes) k
        left join pg_temp.open_hours h using (organization_id, bucket)
        left join pg_temp.hourly_changes c using (organization_id, bucket)
        left join pg_temp.blocked_hours b using (organization_id, bucket)
        order by k.organization_id, k.bucket
        on conflict (organization_id, asset, bucket) do update set
            status = excluded.status,
            computed_version = case when excluded.status = 'done' then l.input_version else l.computed_version end,
            row_count = greatest(l.row_count + excluded.row_count, 0), run_id = excluded.run_id,
            computed_at = excluded.computed_at, error = excluded.error,
            attempts = case when excluded.status = 'done' then 0 else l.attempts end,
            next_attempt_at = case when excluded.status = 'failed'
                then greatest(l.next_attempt_at, excluded.next_attempt_at) end
        -- Marked again since it was read: stays stale. Failed as before: nothing to write.
        where l.status = 'done' and excluded.status = 'done'
           or l.input_version = excluded.input_version
              and (l.status, l.error) is distinct from (excluded.status, excluded.error)
        returning organization_id, bucket
    )
    insert into pg_temp.closed_hours select w.organization_id, w.bucket from written w;

    -- The days that these hours belong to: of a half-hour zone an hour can touch two.
    perform private.mark_stale('daily_aggregates', array_agg(d.organization_id), array_agg(d.bucket))
    from (
        select distinct k.organization_id, (e.at at time zone g.time_zone)::date::timestamp at time zone 'UTC' as bucket
        from pg_temp.closed_hours k
        join public.organizations g on g.id = k.organization_id
        cross join lateral (values (k.bucket), (k.bucket + interval '59 minutes 59 seconds')) e (at)
    ) d;

    return query
    select k.organization_id, coalesce(sum(c.written), 0)::bigint, coalesce(sum(c.deleted), 0)::bigint,
           count(*) filter (where b.reason is null), count(b.reason), min(b.reason)
    from (
        select organization_id, bucket from pg_temp.closed_hours
        union select organization_id, bucket from pg_temp.blocked_hours
    ) k
    left join pg_temp.hourly_changes c using (organization_id, bucket)
    left join pg_temp.blocked_hours b using (organization_id, bucket)
    group by k.organization_id
    order by k.organization_id;
end $$;

-- Hours that must not be published: orders failed, or amounts in a currency without an exchange rate.
create or replace function private.blocked_hours(organization_ids uuid[], from_time timestamptz, to_time timestamptz)
returns table (organization_id uuid, bucket timestamptz, reason text)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select k.organization_id, k.bucket, min(k.reason)
    from (
        select l.organization_id, l.bucket, l.error as reason
        from public.partition_ledger l
        where l.organization_id = any (organization_ids) and l.asset = 'orders' and l.status = 'failed'
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
        ) f
        where private.exchange_rate(f.from_code, f.to_code, f.on_date) is null
    ) k
    group by k.organization_id, k.bucket
$$;

-- Fills pg_temp.hourly_changes. A whole day of many organisations whose partition does not exist yet is built aside,
-- in key order and with its key made at the end, and then attached: half the cost of inserting row by row.
create or replace function private.write_hourly_facts(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, skip_blocked boolean) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    day_start timestamptz;
    segment_start timestamptz := from_time;
begin
    if cardinality(organization_ids) = 0 then
        return;
    end if;
    if cardinality(organization_ids) >= 50 and not skip_blocked then
        for day_start in
            select g from generate_series(date_trunc('day', from_time), to_time - interval '1 day', interval '1 day') g
            where g >= from_time
        loop
            perform pg_advisory_xact_lock(hashtext('analytics.partitions'), hashtext('hourly_facts'));
            if to_regclass('partitions.' || private.partition_name('hourly_facts', 'day', day_start at time zone 'UTC')) is null then
                perform private.merge_hourly_facts(organization_ids, segment_start, day_start, false);
                perform private.build_hourly_day(organization_ids, day_start);
                segment_start := day_start + interval '1 day';
            end if;
        end loop;
    end if;
    perform private.merge_hourly_facts(organization_ids, segment_start, to_time, skip_blocked);
end $$;

create or replace function private.build_hourly_day(organization_ids uuid[], day_start timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
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
    execute format(
        'insert into pg_temp.hourly_changes
         select organization_id, date_trunc(''hour'', "timestamp"), count(*), 0, count(*)
         from partitions.%I group by 1, 2', child);
end $$;

create or replace function private.merge_hourly_facts(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, skip_blocked boolean) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    if from_time >= to_time then
        return;
    end if;
    create temp table if not exists hourly_diff (
        organization_id uuid, metric_id smallint, channel_id smallint, "timestamp" timestamptz, value numeric,
        is_new boolean) on commit drop;
    delete from pg_temp.hourly_diff;

    -- value null: the row has vanished at the source.
    insert into pg_temp.hourly_diff
    select organization_id, metric_id, channel_id, "timestamp", f.value, e.value is null
    from (
        select s.organization_id, s.metric_id, s.channel_id, s."timestamp", s.value
        from private.hourly_source s
        where s.organization_id = any (organization_ids) and s."timestamp" >= from_time and s."timestamp" < to_time
          and (not skip_blocked or not exists (
              select from pg_temp.blocked_hours b
              where b.organization_id = s.organization_id and b.bucket = date_trunc('hour', s."timestamp")))
    ) f
    full join (
        select h.organization_id, h.metric_id, h.channel_id, h."timestamp", h.value
        from public.hourly_facts h
        where h.organization_id = any (organization_ids) and h."timestamp" >= from_time and h."timestamp" < to_time
          and (not skip_blocked or not exists (
              select from pg_temp.blocked_hours b
              where b.organization_id = h.organization_id and b.bucket = date_trunc('hour', h."timestamp")))
    ) e using (organization_id, metric_id, channel_id, "timestamp")
    where f.value is distinct from e.value;
    if not found then
        return;
    end if;

    perform private.ensure_partitions('hourly_facts', d.day, d.day + interval '1 microsecond')
    from (select distinct date_trunc('day', "timestamp") as day from pg_temp.hourly_diff order by 1) d;
    delete from public.hourly_facts h
    using pg_temp.hourly_diff d
    where d.value is null and h."timestamp" >= from_time and h."timestamp" < to_time
      and h.organization_id = d.organization_id and h.metric_id = d.metric_id
      and h.channel_id = d.channel_id and h."timestamp" = d."timestamp";
    insert into public.hourly_facts (organization_id, "timestamp", metric_id, channel_id, value)
    select d.organization_id, d."timestamp", d.metric_id, d.channel_id, d.value
    from pg_temp.hourly_diff d
    where d.value is not null
    order by d.organization_id, d.metric_id, d.channel_id, d."timestamp"
    on conflict (organization_id, metric_id, channel_id, "timestamp")
        do update set value = excluded.value, updated_at = now();

    insert into pg_temp.hourly_changes
    select d.organization_id, date_trunc('hour', d."timestamp"),
           count(d.value), count(*) - count(d.value), count(*) filter (where d.is_new) - (count(*) - count(d.value))
    from pg_temp.hourly_diff d
    group by 1, 2;
end $$;

-- The plan's form: one organisation, what is not taken in yet, from the start of its yesterday to now.
create or replace function public.aggregate_hourly_data(org_id uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    zone text := (select o.time_zone from public.organizations o where o.id = org_id);
    from_time timestamptz := date_trunc('day', now(), coalesce(zone, 'UTC')) - interval '1 day';
begin
    if zone is null then
        raise exception 'no organisation with id %', org_id using hint = 'See `analytics organizations list`.';
    end if;
    perform public.ingest_woocommerce(array[org_id], from_time, date_trunc('hour', now()) + interval '1 hour');
    perform public.aggregate_hourly_data(array[org_id], from_time, date_trunc('hour', now()) + interval '1 hour');
end $$;
