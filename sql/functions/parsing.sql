-- Reading text that a vendor wrote: null where it is not what it should be, never an error, which would stop the
-- statement for every other organisation of the run. (pg_input_is_valid does the same from PostgreSQL 16 on.)

create or replace function private.parse_number(value text) returns numeric
language plpgsql immutable parallel safe set search_path = '' as $$
begin
    -- Longer ones, and digits of other scripts, which \d may match, would fail in the cast.
    if length(value) <= 100 and value ~ '^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?\s*$' then
        return value::numeric;
    end if;
    return null;
end $$;

-- An ISO 8601 date and time without a zone, or with Z (which is dropped: the caller knows the zone).
create or replace function private.parse_timestamp(value text) returns timestamp
language plpgsql immutable parallel safe set search_path = '' as $$
begin
    if value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z?$' then
        return rtrim(value, 'Z')::timestamp;
    end if;
    return null;
exception when datetime_field_overflow or invalid_datetime_format then
    return null;
end $$;

-- An id of a record, which becomes part of a key: null where there is none, or it is too long for an index.
create or replace function private.parse_id(value text) returns text
language sql immutable parallel safe set search_path = '' as $$
    select case when value <> '' and length(value) <= 100 then value end
$$;

-- E-mail addresses are kept as a hash outside raw pages; the organisation is part of it, so that equal addresses of
-- two organisations cannot be matched.
create or replace function private.email_hash(organization_id uuid, email text) returns bytea
language sql immutable parallel safe set search_path = '' as $$
    select case when position('@' in email) > 1
        then sha256(convert_to(organization_id::text || ':' || lower(btrim(email)), 'UTF8')) end
$$;

-- A text with the hash (hex) in the place of every e-mail address, as analytics_assets/events/emails.py does for events. An
-- address that is percent-encoded goes as it stands: what matters is that it is not kept in clear.
create or replace function private.hide_emails(organization_id uuid, value text) returns text
language sql immutable parallel safe set search_path = '' as $$
    select case when value !~ '@|%40|%25' then value else (
        select string_agg(p.part || coalesce(encode(private.email_hash(organization_id, m.found[1]), 'hex'),
                                             encode(sha256(convert_to(organization_id::text || ':' || m.found[1], 'UTF8')), 'hex'), ''),
                          '' order by p.place)
        from regexp_split_to_table(value, e.pattern) with ordinality as p (part, place)
        left join regexp_matches(value, e.pattern, 'g') with ordinality as m (found, place) on m.place = p.place) end
    from (values ('[^\s@<>()\[\]"'',;:/?=&#]{1,64}(?:@|%(?:25)*40)[^\s@<>()\[\]"'',;:/?=&#.]+\.[^\s@<>()\[\]"'',;:/?=&#]+')) as e (pattern)
$$;

-- Hours are the source's local hours, as the UTC instant at which they begin: half-hour zones begin theirs at :30. Where
-- the clock changes by less than an hour, or within one, the hour that follows begins with the change: cut to the hour it
-- would seem to begin within the one before. (Stable as date_trunc is, and in two
-- functions: so the planner puts the one that is called in place, at a tenth of the cost.)
create or replace function private.hour_since_clock_change(at timestamptz, time_zone text) returns timestamptz
language sql stable parallel safe set search_path = '' as $$
    select coalesce(min(g), date_trunc('hour', at, time_zone))
    from generate_series(date_trunc('hour', at, time_zone), at, interval '1 minute') g
    where (at at time zone time_zone) - (g at time zone time_zone) = at - g
$$;
create or replace function private.local_hour(at timestamptz, time_zone text) returns timestamptz
language sql stable parallel safe set search_path = '' as $$
    select case when date_trunc('hour', at, time_zone) at time zone time_zone = date_trunc('hour', at at time zone time_zone)
        then date_trunc('hour', at, time_zone)
        else private.hour_since_clock_change(at, time_zone) end
$$;
