-- Reading text that a vendor wrote: null where it is not what it should be, never an error, which would stop the
-- statement for every other organisation of the run. (pg_input_is_valid does the same from PostgreSQL 16 on.)

create or replace function private.parse_number(value text) returns numeric
language plpgsql immutable parallel safe set search_path = '' as $$
begin
    if value ~ '^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?\s*$' then
        return value::numeric;
    end if;
    return null;
end $$;

-- An ISO 8601 date and time without a zone, or with Z (which is dropped: the caller knows the zone).
create or replace function private.parse_timestamp(value text) returns timestamp
language plpgsql immutable parallel safe set search_path = '' as $$
begin
    if value ~ '^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z?$' then
        return rtrim(value, 'Z')::timestamp;
    end if;
    return null;
exception when datetime_field_overflow or invalid_datetime_format then
    return null;
end $$;

-- E-mail addresses are kept as a hash outside raw pages; the organisation is part of it, so that equal addresses of
-- two organisations cannot be matched.
create or replace function private.email_hash(organization_id uuid, email text) returns bytea
language sql immutable parallel safe set search_path = '' as $$
    select case when position('@' in email) > 1
        then sha256(convert_to(organization_id::text || ':' || lower(btrim(email)), 'UTF8')) end
$$;

-- Hours are the source's local hours, as the UTC instant at which they begin: half-hour zones begin theirs at :30.
create or replace function private.local_hour(at timestamptz, time_zone text) returns timestamptz
language sql immutable parallel safe set search_path = '' as $$
    select date_trunc('hour', at, time_zone)
$$;
