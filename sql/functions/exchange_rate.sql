-- The rate of the day, or of the newest of the six days before it (weekends, holidays); null where there is none:
-- amounts in different currencies are never added without one.
create or replace function private.exchange_rate(from_code text, to_code text, on_date date) returns numeric
language sql stable parallel safe set search_path = '' as $$
    select e.rate from public.exchange_rates e
    where e.from_currency = from_code and e.to_currency = to_code
      and e.rate_date <= on_date and e.rate_date > on_date - 7
    order by e.rate_date desc
    limit 1
$$;

-- The same for a report's figure: into the organisation's currency, at the rate of the hour's day there.
create or replace function private.observation_rate(organization_id uuid, from_currency text, at timestamptz) returns numeric
language sql stable parallel safe set search_path = '' as $$
    select private.exchange_rate(from_currency, g.currency, (at at time zone g.time_zone)::date)
    from public.organizations g where g.id = organization_id
$$;
