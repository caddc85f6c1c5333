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
