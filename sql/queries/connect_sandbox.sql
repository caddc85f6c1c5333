-- Organisations and sources of the sandbox's world, from pg_temp.sandbox_sources: made, or brought up to date, all at once.
with made as (
    insert into public.organizations as o (id, slug, name, time_zone, currency)
    select distinct on (s.organization_id) s.organization_id, s.slug, s.name, s.organization_zone, s.organization_currency
    from pg_temp.sandbox_sources s
    order by s.organization_id
    on conflict (id) do update set is_active = true where not o.is_active
), stored as (
    insert into public.data_sources as d
        (organization_id, id, source_type, source_name, connection_config, time_zone, currency, history_from, is_active,
         sync_frequency_minutes)
    select s.organization_id, s.id, s.source_type, s.source_name, s.connection_config, s.time_zone, s.currency,
           s.history_from, true, s.sync_frequency_minutes
    from pg_temp.sandbox_sources s
    order by s.organization_id, s.id
    on conflict (organization_id, id) do update set
        connection_config = excluded.connection_config, is_active = true, failure_kind = null, failures = 0, last_error = null,
        sync_status = case when d.lease_owner is null then 'idle' else d.sync_status end, next_sync_at = now(), updated_at = now()
    returning 1
), rated as (
    insert into public.exchange_rates as e (from_currency, to_currency, rate_date, rate, source)
    select distinct on (r.from_currency, r.to_currency, g.day)
           r.from_currency, r.to_currency, g.day::date, r.rate, 'sandbox'
    from pg_temp.sandbox_rates r
    cross join generate_series(%(first_day)s::date - 7, %(last_day)s::date + 7, interval '1 day') as g (day)
    order by r.from_currency, r.to_currency, g.day
    on conflict (from_currency, to_currency, rate_date) do nothing
)
select count(*) as sources from stored
