-- New rates, and the hours that waited for them.
with stored as (
    insert into public.exchange_rates as e (from_currency, to_currency, rate_date, rate)
    select distinct on (from_currency, to_currency, rate_date) from_currency, to_currency, rate_date, rate
    from pg_temp.new_rates order by from_currency, to_currency, rate_date, rate
    on conflict (from_currency, to_currency, rate_date) do update set rate = excluded.rate
    where e.rate <> excluded.rate
    returning from_currency, to_currency, rate_date
), affected as (
    -- A day of any zone, and a rate holds for seven days.
    select o.organization_id, date_trunc('hour', o.bucket_at) as bucket
    from stored s
    join public.orders o on o.currency = s.from_currency
        and o.occurred_at >= s.rate_date - interval '1 day' and o.occurred_at < s.rate_date + interval '8 days'
    join public.organizations g on g.id = o.organization_id and g.currency = s.to_currency
    union
    select r.organization_id, date_trunc('hour', r.bucket_at)
    from stored s
    join public.refunds r on r.occurred_at >= s.rate_date - interval '1 day' and r.occurred_at < s.rate_date + interval '8 days'
    join public.organizations g on g.id = r.organization_id and g.currency = s.to_currency
    left join public.orders o using (organization_id, data_source_id, order_id)
    where coalesce(o.currency, r.currency) = s.from_currency
    union
    select l.organization_id, date_trunc('hour', l.bucket_at)
    from stored s
    join public.order_sales l on l.currency = s.from_currency
        and l.occurred_at >= s.rate_date - interval '1 day' and l.occurred_at < s.rate_date + interval '8 days'
    join public.organizations g on g.id = l.organization_id and g.currency = s.to_currency
    union
    select m.organization_id, date_trunc('hour', m.bucket_at)
    from stored s
    join public.metric_observations m on m.currency = s.from_currency
        and m.bucket_at >= s.rate_date - interval '1 day' and m.bucket_at < s.rate_date + interval '8 days'
    join public.organizations g on g.id = m.organization_id and g.currency = s.to_currency
), affected_events as (
    select distinct e.organization_id, date_trunc('hour', private.local_hour(e."timestamp", g.time_zone)) as bucket
    from stored s
    join public.organizations g on g.currency = s.to_currency
    join public.event_tracking e
        on e.organization_id = g.id and e.currency = s.from_currency and e.event_name in ('Order Completed', 'Order Refunded')
       and e."timestamp" >= s.rate_date - interval '1 day' and e."timestamp" < s.rate_date + interval '8 days'
), affected_days as (
    select distinct d.organization_id, d.date::timestamp at time zone 'UTC' as bucket
    from stored s
    join public.daily_observations d on d.currency = s.from_currency and d.date >= s.rate_date and d.date < s.rate_date + 8
    join public.organizations g on g.id = d.organization_id and g.currency = s.to_currency
), purchases as (
    -- Tracked purchases count in cohorts by their day.
    select distinct e.organization_id, (e."timestamp" at time zone g.time_zone)::date::timestamp at time zone 'UTC' as bucket
    from stored s
    join public.event_tracking e on e.currency = s.from_currency
        and e."timestamp" >= s.rate_date - interval '1 day' and e."timestamp" < s.rate_date + interval '8 days'
    join public.organizations g on g.id = e.organization_id and g.currency = s.to_currency
    where e.event_name in ('Order Completed', 'Order Refunded') and e.user_id is not null
), marked_cohorts as (
    select private.mark_stale_apart('cohort_analysis', array_agg(organization_id order by organization_id, bucket),
                                    array_agg(bucket order by organization_id, bucket)) as days
    from purchases
), marked_days as (
    select private.mark_stale_apart('daily_aggregates', array_agg(organization_id order by organization_id, bucket),
                                    array_agg(bucket order by organization_id, bucket)) as days
    from affected_days
), marked_events as (
    select private.mark_stale_apart('event_tracking', array_agg(organization_id order by organization_id, bucket),
                                    array_agg(bucket order by organization_id, bucket)) as hours
    from affected_events
), marked as (
    select private.mark_stale_apart('hourly_aggregates', array_agg(organization_id order by organization_id, bucket),
                                    array_agg(bucket order by organization_id, bucket)) as hours
    from affected
)
select (select count(*) from stored) as changed, (select hours from marked) + (select hours from marked_events) as hours,
       (select days from marked_days) as days, (select days from marked_cohorts) as cohort_days
