-- Collected events into metric_observations (channel events) and visitor_days, for all organisations of a run at once.
--
-- Grain: organisation x metric x local hour of the organisation; an hour belongs to the bucket (UTC hour) in which it begins.
-- sessions count in the hour in which they start, users_new in the hour of their first event ever; purchase_revenue is what
-- Order Completed says less what Order Refunded says, in the organisation's currency at the rate of the day. An hour with an
-- amount in a currency without a rate is failed for that organisation alone and keeps the figures that it had.
-- Writes only what differs; rows, ledger and the marks of what depends on them change in one transaction. Returns one row an
-- organisation that had work or has a failure.
create or replace function public.summarize_events(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, run_id uuid default null)
returns table (organization_id uuid, events bigint, rows_written bigint, rows_deleted bigint, hours bigint,
               failed_hours bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning
set plan_cache_mode = force_custom_plan set jit = off as $$
#variable_conflict use_column
declare
    open_ids uuid[]; open_buckets timestamptz[]; open_versions integer[];
    -- What the events make of these hours; reason: why an hour must not be published.
    new_ids uuid[]; new_metrics smallint[]; new_hours timestamptz[]; new_values numeric[];
    counted_ids uuid[]; counted_buckets timestamptz[]; counted_events bigint[];
    blocked_ids uuid[]; blocked_buckets timestamptz[]; blocked_reasons text[];
    changed_ids uuid[]; changed_hours timestamptz[]; changed_written bigint[]; changed_deleted bigint[];
    day_ids uuid[]; days date[];
begin
    from_time := date_trunc('hour', from_time);
    organization_ids := private.lock_organizations('event_hours', organization_ids);
    organization_ids := private.lock_organizations('event_days', organization_ids);

    -- Read before the events are: an hour marked in between keeps a newer version, and stays stale.
    select array_agg(o.organization_id), array_agg(o.bucket), array_agg(o.input_version)
    into open_ids, open_buckets, open_versions
    from private.open_buckets('event_tracking', organization_ids, from_time, to_time, '1 hour') o;

    select array_agg(u.organization_id), array_agg(u.bucket), array_agg(u.reason)
    into blocked_ids, blocked_buckets, blocked_reasons
    from private.unconverted_purchases(organization_ids, from_time, to_time) u;

    -- Partitions in the order in which everybody makes them, the ledger's last. (All zones' dates of these instants, also where
    -- there is no event yet: one that is committed before the next statement found no partition for its day.)
    perform private.ensure_partitions('visitor_days', date_trunc('month', from_time - interval '13 hours'), to_time + interval '15 hours');

    select array_agg(s.organization_id) filter (where s.value is not null), array_agg(s.metric_id) filter (where s.value is not null),
           array_agg(s."timestamp") filter (where s.value is not null), array_agg(s.value) filter (where s.value is not null)
    into new_ids, new_metrics, new_hours, new_values
    from private.event_source(organization_ids, from_time, to_time) s;

    perform private.ensure_partitions('metric_observations', d.day, d.day + interval '1 microsecond')
    from (select distinct date_trunc('day', h) as day from unnest(new_hours) h order by 1) d;
    perform private.ensure_partitions('partition_ledger', from_time - interval '2 days', to_time + interval '2 days');
    insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)
    select g.id, 'events', 'events', g.time_zone, g.currency
    from public.organizations g
    where g.id in (select unnest(new_ids))
      and not exists (select from public.data_sources d where d.organization_id = g.id and d.source_type = 'events')
    on conflict do nothing;

    with sources as materialized (
        select distinct on (d.organization_id) d.organization_id, d.id
        from public.data_sources d
        where d.organization_id = any (organization_ids) and d.source_type = 'events'
        order by d.organization_id, d.created_at, d.id
    ), diff as materialized (
        -- value null: it has vanished.
        select organization_id, metric_id, bucket_at, data_source_id, f.value
        from (
            select n.organization_id, n.metric_id, n.bucket_at, s.id as data_source_id, n.value
            from unnest(new_ids, new_metrics, new_hours, new_values) n (organization_id, metric_id, bucket_at, value)
            join sources s using (organization_id)
        ) f
        full join (
            select o.organization_id, o.metric_id, o.bucket_at, o.data_source_id, o.value
            from public.metric_observations o
            where o.organization_id = any (organization_ids) and o.channel_id = 5
              and o.bucket_at >= from_time and o.bucket_at < to_time
        ) e using (organization_id, metric_id, bucket_at, data_source_id)
        where f.value is distinct from e.value
          and not exists (
              select from unnest(blocked_ids, blocked_buckets) b (id, bucket)
              where b.id = organization_id and b.bucket = date_trunc('hour', bucket_at))
    ), vanished as (
        delete from public.metric_observations o
        using diff d
        where (select bool_or(v.value is null) from diff v)
          and d.value is null and o.bucket_at >= from_time and o.bucket_at < to_time and o.channel_id = 5
          and o.organization_id = d.organization_id and o.metric_id = d.metric_id and o.bucket_at = d.bucket_at
          and o.data_source_id = d.data_source_id
    ), stored as (
        insert into public.metric_observations (organization_id, bucket_at, data_source_id, metric_id, channel_id, value)
        select d.organization_id, d.bucket_at, d.data_source_id, d.metric_id, 5, d.value
        from diff d
        where d.value is not null
        order by d.organization_id, d.metric_id, d.bucket_at
        on conflict (organization_id, metric_id, channel_id, bucket_at, data_source_id) do update set value = excluded.value
    )
    select array_agg(c.organization_id), array_agg(c.bucket_at), array_agg(c.written), array_agg(c.deleted)
    into changed_ids, changed_hours, changed_written, changed_deleted
    from (
        select d.organization_id, d.bucket_at, count(d.value) as written, count(*) - count(d.value) as deleted
        from diff d group by 1, 2 order by 1, 2
    ) c;

    select array_agg(c.organization_id), array_agg(c.date) into day_ids, days
    from private.write_visitor_days(organization_ids, from_time, to_time) c;

    -- The days of what changed: the organisation's own.
    select array_agg(k.organization_id), array_agg(k.date) into day_ids, days
    from (
        select u.organization_id, u.date from unnest(day_ids, days) u (organization_id, date)
        union
        select c.organization_id, (c.hour at time zone g.time_zone)::date
        from unnest(changed_ids, changed_hours) c (organization_id, hour)
        join public.organizations g on g.id = c.organization_id
    ) k;

    select array_agg(c.organization_id), array_agg(c.bucket), array_agg(c.events)
    into counted_ids, counted_buckets, counted_events
    from (
        select n.organization_id, date_trunc('hour', n.hour) as bucket, sum(n.value)::bigint as events
        from unnest(new_ids, new_metrics, new_hours, new_values) n (organization_id, metric_id, hour, value)
        where n.metric_id = 7
        group by 1, 2
    ) c;

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at, error,
         next_attempt_at)
    select k.organization_id, 'event_tracking', k.bucket, case when b.reason is null then 'done' else 'failed' end,
           coalesce(o.input_version, 1), case when b.reason is null then coalesce(o.input_version, 1) end,
           coalesce(n.events, 0), summarize_events.run_id, now(), b.reason,
           case when b.reason is not null then now() + interval '5 minutes' end
    from (
        select u.organization_id, u.bucket from unnest(open_ids, open_buckets) u (organization_id, bucket)
        union
        select c.organization_id, date_trunc('hour', c.hour) from unnest(changed_ids, changed_hours) c (organization_id, hour)
        union
        select u.organization_id, u.bucket from unnest(blocked_ids, blocked_buckets) u (organization_id, bucket)
    ) k
    left join unnest(open_ids, open_buckets, open_versions) o (organization_id, bucket, input_version) using (organization_id, bucket)
    left join unnest(blocked_ids, blocked_buckets, blocked_reasons) b (organization_id, bucket, reason) using (organization_id, bucket)
    left join unnest(counted_ids, counted_buckets, counted_events) n (organization_id, bucket, events) using (organization_id, bucket)
    left join public.partition_ledger p
        on p.organization_id = k.organization_id and p.asset = 'event_tracking' and p.bucket = k.bucket
       and p.bucket >= from_time and p.bucket < to_time
    -- Failed as before: nothing to write, nor to lock.
    where b.reason is null or p.status is distinct from 'failed' or p.error is distinct from b.reason
    order by k.organization_id, k.bucket
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status,
        computed_version = case when excluded.status = 'done' then l.input_version else l.computed_version end,
        row_count = excluded.row_count, run_id = excluded.run_id, computed_at = excluded.computed_at, error = excluded.error,
        attempts = case when excluded.status = 'done' then 0 else l.attempts end,
        next_attempt_at = case when excluded.status = 'failed' then greatest(l.next_attempt_at, excluded.next_attempt_at) end
    -- Marked again since it was read: stays stale.
    where l.status = 'done' or l.input_version = excluded.input_version;

    -- An hour that fails, or is sound again, moves no figure; and yet hourly_aggregates must follow.
    perform private.mark_stale('hourly_aggregates', array_agg(k.organization_id), array_agg(k.bucket))
    from (
        select c.organization_id, date_trunc('hour', c.hour) as bucket
        from unnest(changed_ids, changed_hours) c (organization_id, hour)
        union
        select coalesce(b.organization_id, h.organization_id), coalesce(b.bucket, h.bucket)
        from unnest(blocked_ids, blocked_buckets, blocked_reasons) b (organization_id, bucket, reason)
        full join (
            select l.organization_id, l.bucket, l.error
            from public.partition_ledger l
            where l.organization_id = any (organization_ids) and l.asset = 'hourly_aggregates' and l.status = 'failed'
              and l.bucket >= from_time and l.bucket < to_time and l.error like 'event %'
        ) h on h.organization_id = b.organization_id and h.bucket = b.bucket and h.error = b.reason
        where b.bucket is null or h.bucket is null
        order by 1, 2
    ) k
    having count(*) > 0;
    perform private.mark_stale('daily_aggregates', array_agg(k.organization_id order by k.organization_id, k.date),
                               array_agg(k.date::timestamp at time zone 'UTC' order by k.organization_id, k.date))
    from unnest(day_ids, days) k (organization_id, date)
    having count(*) > 0;
    perform private.mark_event_dependents(day_ids, days);

    return query
    select k.organization_id, coalesce(sum(n.events), 0)::bigint, coalesce(sum(c.written), 0)::bigint,
           coalesce(sum(c.deleted), 0)::bigint, count(*) filter (where b.reason is null), count(b.reason), min(b.reason)
    from (
        select u.organization_id, u.bucket from unnest(open_ids, open_buckets) u (organization_id, bucket)
        union
        select u.organization_id, date_trunc('hour', u.hour) from unnest(changed_ids, changed_hours) u (organization_id, hour)
        union
        select u.organization_id, u.bucket from unnest(blocked_ids, blocked_buckets) u (organization_id, bucket)
    ) k
    left join (
        select u.organization_id, date_trunc('hour', u.hour) as bucket, sum(u.written) as written, sum(u.deleted) as deleted
        from unnest(changed_ids, changed_hours, changed_written, changed_deleted) u (organization_id, hour, written, deleted)
        group by 1, 2
    ) c using (organization_id, bucket)
    left join unnest(blocked_ids, blocked_buckets, blocked_reasons) b (organization_id, bucket, reason) using (organization_id, bucket)
    left join unnest(counted_ids, counted_buckets, counted_events) n (organization_id, bucket, events) using (organization_id, bucket)
    group by k.organization_id
    order by k.organization_id;
end $$;

-- What the events of these buckets make, by local hour: the one definition of the metrics of channel events.
-- (Counted by quarters of an hour first, since every zone's hours begin at one: the hour is found once a quarter, not once an
-- event.)
create or replace function private.event_source(organization_ids uuid[], from_time timestamptz, to_time timestamptz)
returns table (organization_id uuid, metric_id smallint, "timestamp" timestamptz, value numeric)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    with quarters as (
        select e.organization_id, date_bin('15 minutes', e."timestamp", timestamptz '2000-01-01 00:00+00') as quarter, e.currency,
               count(*) as events, count(*) filter (where e.event_type in ('page', 'screen')) as page_views,
               count(*) filter (where e.event_type = 'track' and e.event_name = 'Product Viewed') as item_views,
               count(*) filter (where e.event_type = 'track' and e.event_name = 'Product Added') as add_to_carts,
               count(*) filter (where e.event_type = 'track' and e.event_name = 'Checkout Started') as checkouts,
               count(*) filter (where e.event_type = 'track' and e.event_name = 'Order Completed') as purchases,
               count(*) filter (where e.event_type = 'track' and e.event_name in ('Order Completed', 'Order Refunded')) as paid,
               sum(case e.event_name when 'Order Completed' then e.event_value when 'Order Refunded' then -abs(e.event_value) end)
                   filter (where e.event_type = 'track' and e.event_name in ('Order Completed', 'Order Refunded')) as revenue,
               0::bigint as sessions, 0::bigint as users_new
        from public.event_tracking e
        where e.organization_id = any (organization_ids) and e."timestamp" >= from_time and e."timestamp" < to_time + interval '1 hour'
        group by 1, 2, 3
        union all
        select s.organization_id, date_bin('15 minutes', s.started_at, timestamptz '2000-01-01 00:00+00'), null,
               0, 0, 0, 0, 0, 0, 0, null, count(*), 0
        from public.visitor_sessions s
        where s.organization_id = any (organization_ids) and s.started_at >= from_time and s.started_at < to_time + interval '1 hour'
        group by 1, 2
        union all
        select v.organization_id, date_bin('15 minutes', v.first_seen_at, timestamptz '2000-01-01 00:00+00'), null,
               0, 0, 0, 0, 0, 0, 0, null, 0, count(*)
        from public.visitors v
        where v.organization_id = any (organization_ids) and v.first_seen_at >= from_time and v.first_seen_at < to_time + interval '1 hour'
        group by 1, 2
    ), hours as (
        select q.organization_id, h.hour, sum(q.events) as events, sum(q.page_views) as page_views, sum(q.item_views) as item_views,
               sum(q.add_to_carts) as add_to_carts, sum(q.checkouts) as checkouts, sum(q.purchases) as purchases,
               sum(q.paid) as paid, sum(q.sessions) as sessions, sum(q.users_new) as users_new,
               coalesce(sum(q.revenue * case when coalesce(q.currency, g.currency) = g.currency then 1
                            else private.exchange_rate(q.currency, g.currency, (q.quarter at time zone g.time_zone)::date) end), 0) as revenue
        from quarters q
        join public.organizations g on g.id = q.organization_id
        cross join lateral (select private.local_hour(q.quarter, g.time_zone) as hour offset 0) h
        where h.hour >= from_time and h.hour < to_time
        group by 1, 2
    )
    select h.organization_id, m.metric_id, h.hour, m.value
    from hours h
    cross join lateral (values
        (1::smallint, h.sessions, h.sessions > 0), (5::smallint, h.users_new, h.users_new > 0),
        (6::smallint, h.page_views, h.page_views > 0), (7::smallint, h.events, h.events > 0),
        (14::smallint, h.item_views, h.item_views > 0), (15::smallint, h.add_to_carts, h.add_to_carts > 0),
        (16::smallint, h.checkouts, h.checkouts > 0), (17::smallint, h.purchases, h.purchases > 0),
        (18::smallint, h.revenue, h.paid > 0)
    ) as m (metric_id, value, present)
    where m.present
    order by 1, 2, 3
$$;

-- Hours with a purchase or refund whose currency has no rate on its day.
create or replace function private.unconverted_purchases(organization_ids uuid[], from_time timestamptz, to_time timestamptz)
returns table (organization_id uuid, bucket timestamptz, reason text)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    select k.organization_id, k.bucket, min(k.reason)
    from (
        select e.organization_id, date_trunc('hour', h.hour) as bucket,
               format('event %s (%s) is in %s, the organisation reports in %s, and there is no exchange rate for %s. '
                      'Add one with `analytics rates add %s %s %s RATE`.',
                      e.id, e.event_name, e.currency, g.currency, d.date, e.currency, g.currency, d.date) as reason
        from public.event_tracking e
        join public.organizations g on g.id = e.organization_id and g.currency <> e.currency
        cross join lateral (select private.local_hour(e."timestamp", g.time_zone) as hour offset 0) h
        cross join lateral (select (e."timestamp" at time zone g.time_zone)::date as date) d
        where e.event_name in ('Order Completed', 'Order Refunded') and e.event_type = 'track' and e.event_value is not null
          and e.organization_id = any (organization_ids)
          and e."timestamp" >= from_time and e."timestamp" < to_time + interval '1 hour'
          and h.hour >= from_time and h.hour < to_time
          and private.exchange_rate(e.currency, g.currency, d.date) is null
    ) k
    group by k.organization_id, k.bucket
$$;
