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
), marked as (
    select private.mark_stale('hourly_aggregates', array_agg(organization_id order by organization_id, bucket),
                              array_agg(bucket order by organization_id, bucket)) as hours
    from affected
)
select (select count(*) from stored) as changed, (select hours from marked) as hours
