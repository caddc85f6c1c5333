-- daily_facts from hourly_facts and orders, for all organisations of a run at once.
--
-- Dates are days of each organisation's time zone, 23 and 25 hours long where clocks change; an hour belongs to the day
-- in which it begins. Sums are summed, distinct counts come from the orders and from the vendors'
-- daily reports, ratios are never stored. A day that is over
-- is computed only when each of its hours is done in the ledger: until then it waits and keeps the rows that it had, so
-- that hours already dropped by retention never turn a day into a part of itself. The running day holds what is there.
-- Both dates are included. Returns one row an organisation that had work or has a failure.
create or replace function public.aggregate_daily_data(
    organization_ids uuid[], from_date date, to_date date, run_id uuid default null)
returns table (organization_id uuid, rows_written bigint, rows_deleted bigint, days bigint, waiting_days bigint,
               failed_days bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning as $$
#variable_conflict use_column
declare
    -- Every zone's local day lies within these instants: offsets go from -12 to +14 hours.
    from_time timestamptz := (from_date::timestamp - interval '14 hours') at time zone 'UTC';
    to_time timestamptz := (to_date::timestamp + interval '37 hours') at time zone 'UTC';
begin
    organization_ids := private.lock_organizations('daily', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_date::timestamp at time zone 'UTC',
                                      (to_date + 1)::timestamp at time zone 'UTC');
    drop table if exists pg_temp.open_days, pg_temp.blocked_days, pg_temp.daily_diff, pg_temp.daily_changes,
        pg_temp.new_daily;

    create temp table open_days on commit drop as
    select b.organization_id, b.bucket, (b.bucket at time zone 'UTC')::date as date, b.input_version
    from private.open_buckets('daily_aggregates', organization_ids, from_date::timestamp at time zone 'UTC',
                              (to_date + 1)::timestamp at time zone 'UTC', '1 day') b;
    create temp table blocked_days on commit drop as
    select distinct on (b.organization_id, b.date) b.*
    from private.blocked_days(organization_ids, from_date, to_date) b
    order by b.organization_id, b.date, b.status, b.reason;

    create temp table new_daily on commit drop as
    select h.organization_id, h.metric_id, h.channel_id, (h."timestamp" at time zone g.time_zone)::date as date,
           sum(h.value) as value
    from public.hourly_facts h
    join public.organizations g on g.id = h.organization_id
    join public.metrics m on m.metric_id = h.metric_id and m.kind = 'sum'
    where h.organization_id = any (organization_ids) and h."timestamp" >= from_time and h."timestamp" < to_time
    group by 1, 2, 3, 4
    union all
    select d.organization_id, v.metric_id, d.channel_id, d.date, v.value
    from (
        select o.organization_id, o.channel_id, (o.bucket_at at time zone g.time_zone)::date as date,
               count(distinct (o.data_source_id, o.customer_key)) filter (where o.customer_key is not null) as ordering,
               count(distinct (o.data_source_id, o.customer_key)) filter (
                   where (c.first_order_bucket at time zone g.time_zone)::date < (o.bucket_at at time zone g.time_zone)::date
               ) as returning
        from public.orders o
        join public.organizations g on g.id = o.organization_id
        left join public.customers c using (organization_id, data_source_id, customer_key)
        where o.is_counted and o.organization_id = any (organization_ids)
          and o.bucket_at >= from_time and o.bucket_at < to_time
        group by 1, 2, 3
    ) d
    cross join lateral (values (51::smallint, d.ordering::numeric), (53::smallint, d.returning::numeric)) v (metric_id, value)
    union all
    -- Visitors of the organisation's own tracking.
    select d.organization_id, 3::smallint, 5::smallint, d.date, count(*)::numeric
    from public.visitor_days d
    where d.organization_id = any (organization_ids) and d.date between from_date and to_date
    group by 1, 4
    union all
    -- What the vendors' daily reports say, by the account's own date. People are not counted twice by adding accounts up:
    -- of several accounts of one vendor the largest count stands.
    select d.organization_id, d.metric_id, d.channel_id, d.date, d.value
    from (
        select r.organization_id, r.metric_id, r.channel_id, r.date,
               case m.kind when 'sum' then sum(r.value * x.rate) when 'distinct' then max(r.value)
                           else sum(r.value * r.weight) / nullif(sum(r.weight), 0) end as value
        from public.daily_observations r
        join public.organizations g on g.id = r.organization_id
        join public.metrics m on m.metric_id = r.metric_id
        cross join lateral (
            select case when r.currency is null then 1 else private.exchange_rate(r.currency, g.currency, r.date) end as rate
        ) x
        where r.organization_id = any (organization_ids) and r.date between from_date and to_date
        group by r.organization_id, r.metric_id, r.channel_id, r.date, m.kind
    ) d
    where d.value is not null;

    -- value null: the row has vanished.
    create temp table daily_diff on commit drop as
    select organization_id, metric_id, channel_id, date, f.value, e.value is null as is_new
    from (select * from pg_temp.new_daily n where n.date between from_date and to_date) f
    full join (
        select d.organization_id, d.metric_id, d.channel_id, d.date, d.value
        from public.daily_facts d
        join public.metrics m on m.metric_id = d.metric_id
            and (m.hourly or m.metric_id in (51, 53) or m.metric_id in (select k.metric_id from private.report_metrics k where k.grain = 'day'))
        where d.organization_id = any (organization_ids) and d.date between from_date and to_date
    ) e using (organization_id, metric_id, channel_id, date)
    where f.value is distinct from e.value
      and not exists (select from pg_temp.blocked_days b
                      where b.organization_id = coalesce(f.organization_id, e.organization_id)
                        and b.date = coalesce(f.date, e.date));

    perform private.ensure_partitions('daily_facts', d.month, d.month + interval '1 microsecond')
    from (select distinct date_trunc('month', date::timestamp) at time zone 'UTC' as month from pg_temp.daily_diff order by 1) d;
    delete from public.daily_facts t
    using pg_temp.daily_diff d
    where d.value is null and t.date between from_date and to_date
      and t.organization_id = d.organization_id and t.metric_id = d.metric_id
      and t.channel_id = d.channel_id and t.date = d.date;
    insert into public.daily_facts (organization_id, date, metric_id, channel_id, value)
    select d.organization_id, d.date, d.metric_id, d.channel_id, d.value
    from pg_temp.daily_diff d
    where d.value is not null
    order by d.organization_id, d.metric_id, d.channel_id, d.date
    on conflict (organization_id, metric_id, channel_id, date)
        do update set value = excluded.value, updated_at = now();

    create temp table daily_changes on commit drop as
    select d.organization_id, d.date, count(d.value) as written, count(*) - count(d.value) as deleted,
           count(*) filter (where d.is_new) - (count(*) - count(d.value)) as added
    from pg_temp.daily_diff d
    group by 1, 2;

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at, error,
         next_attempt_at)
    select k.organization_id, 'daily_aggregates', k.date::timestamp at time zone 'UTC', coalesce(b.status, 'done'),
           coalesce(o.input_version, 1), case when b.status is null then coalesce(o.input_version, 1) end,
           greatest(coalesce(p.row_count, 0) + coalesce(c.added, 0), 0), aggregate_daily_data.run_id, now(), b.reason,
           -- A waiting day is not tried again by itself: its hours mark it when they come.
           case when b.status = 'failed' then now() + interval '5 minutes' end
    from (select organization_id, date from pg_temp.open_days
          union select organization_id, date from pg_temp.daily_changes) k
    left join pg_temp.open_days o using (organization_id, date)
    left join pg_temp.daily_changes c using (organization_id, date)
    left join pg_temp.blocked_days b using (organization_id, date)
    left join public.partition_ledger p
        on p.organization_id = k.organization_id and p.asset = 'daily_aggregates'
       and p.bucket = k.date::timestamp at time zone 'UTC'
       and p.bucket >= from_date::timestamp at time zone 'UTC' and p.bucket < (to_date + 1)::timestamp at time zone 'UTC'
    -- Failed or waiting as before: nothing to write, nor to lock.
    where b.status is null or (p.status, p.error) is distinct from (b.status, b.reason)
    order by 1, 3
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status,
        computed_version = case when excluded.status = 'done' then l.input_version else l.computed_version end,
        row_count = excluded.row_count, run_id = excluded.run_id,
        computed_at = excluded.computed_at, error = excluded.error,
        attempts = case when excluded.status = 'done' then 0 else l.attempts end,
        next_attempt_at = case when excluded.status = 'failed'
            then greatest(l.next_attempt_at, excluded.next_attempt_at) end
    where l.status = 'done' and excluded.status = 'done'
       or l.input_version = excluded.input_version;

    perform private.mark_alert_days(array_agg(k.organization_id), array_agg(k.date::timestamp at time zone 'UTC'), false)
    from (select organization_id, date from pg_temp.open_days
          union select organization_id, date from pg_temp.daily_changes) k;
    perform private.mark_rule_insights(array_agg(k.organization_id), array_agg(k.date::timestamp at time zone 'UTC'))
    from (select organization_id, date from pg_temp.open_days
          union select organization_id, date from pg_temp.daily_changes) k
    where not exists (select from pg_temp.blocked_days b where b.organization_id = k.organization_id and b.date = k.date);

    return query
    select k.organization_id, coalesce(sum(c.written), 0)::bigint, coalesce(sum(c.deleted), 0)::bigint,
           count(*) filter (where b.status is null), count(*) filter (where b.status = 'waiting'),
           count(*) filter (where b.status = 'failed'), min(b.reason)
    from (
        select organization_id, date from pg_temp.open_days
        union select organization_id, date from pg_temp.daily_changes
        union select organization_id, date from pg_temp.blocked_days
    ) k
    left join pg_temp.daily_changes c using (organization_id, date)
    left join pg_temp.blocked_days b using (organization_id, date)
    group by k.organization_id
    order by k.organization_id;
end $$;

-- (No nested loop: the ledger has no statistics yet when it is young, and joined hour by hour the check of one
-- organisation's year took three seconds instead of a tenth.)
-- Days that must not be published: an hour failed, or, in a day that is over, an hour is not computed (or is gone).
create or replace function private.blocked_days(organization_ids uuid[], from_date date, to_date date)
returns table (organization_id uuid, date date, status text, reason text)
language sql stable set search_path = '' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
    select h.organization_id, h.date,
           case when h.failed > 0 then 'failed' else 'waiting' end,
           case when h.failed > 0
               then format('%s of %s hours failed, first %s UTC: %s', h.failed, h.hours, to_char(h.first_failed, 'YYYY-MM-DD HH24:MI'), h.first_error)
               else format('%s of %s hours are not computed, first %s UTC. Backfill hourly_aggregates over that day first.',
                           h.missing, h.hours, to_char(h.first_missing, 'YYYY-MM-DD HH24:MI')) end
    from (
        select d.organization_id, d.date, count(*) as hours,
               count(*) filter (where l.status = 'failed') as failed,
               min(x.bucket) filter (where l.status = 'failed') as first_failed,
               min(l.error) filter (where l.status = 'failed') as first_error,
               count(*) filter (where d.is_over and l.computed_version is null and l.status is distinct from 'failed') as missing,
               min(x.bucket) filter (where d.is_over and l.computed_version is null and l.status is distinct from 'failed') as first_missing
        from (
            select g.id as organization_id, s.date::date as date,
                   date_trunc('hour', s.date at time zone g.time_zone) as first_hour,
                   (s.date + interval '1 day') at time zone g.time_zone as day_end,
                   (s.date + interval '1 day') at time zone g.time_zone <= now() as is_over
            from public.organizations g
            cross join generate_series(from_date::timestamp, to_date::timestamp, interval '1 day') as s (date)
            where g.id = any (organization_ids)
        ) d
        cross join lateral generate_series(d.first_hour, d.day_end - interval '1 microsecond', interval '1 hour') as x (bucket)
        left join (
            select p.organization_id, p.bucket, p.status, p.error, p.computed_version
            from public.partition_ledger p
            where p.organization_id = any (organization_ids) and p.asset = 'hourly_aggregates'
              and p.bucket >= (from_date::timestamp - interval '15 hours') at time zone 'UTC'
              and p.bucket < (to_date::timestamp + interval '37 hours') at time zone 'UTC'
        ) l on l.organization_id = d.organization_id and l.bucket = x.bucket
        group by 1, 2
    ) h
    where h.failed > 0 or h.missing > 0
    union all
    select r.organization_id, r.date, 'failed', min(format(
        'the account of source %s is in %s, the organisation reports in %s, and there is no exchange rate for %s. '
        'Add one with `analytics rates add %s %s %s RATE`.',
        s.source_name, r.currency, g.currency, r.date, r.currency, g.currency, r.date))
    from public.daily_observations r
    join public.organizations g on g.id = r.organization_id
    join public.data_sources s on s.organization_id = r.organization_id and s.id = r.data_source_id
    where r.organization_id = any (organization_ids) and r.date between from_date and to_date and r.currency is not null
      and private.exchange_rate(r.currency, g.currency, r.date) is null
    group by r.organization_id, r.date
$$;

-- The plan's form: one organisation, its yesterday and today.
create or replace function public.aggregate_daily_data(org_id uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    zone text := (select o.time_zone from public.organizations o where o.id = org_id);
    today date := (now() at time zone coalesce(zone, 'UTC'))::date;
begin
    if zone is null then
        raise exception 'no organisation with id %', org_id using hint = 'See `analytics organizations list`.';
    end if;
    perform public.aggregate_daily_data(array[org_id], today - 1, today);
end $$;
