-- Once a connection: where messages of many requests are put down before they are stored in one transaction.
create or replace function private.make_event_stage() returns void
language sql set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
    create temp table if not exists staged_events (
        slot integer not null, organization_id uuid not null, id uuid not null, "timestamp" timestamptz not null,
        received_at timestamptz not null, event_type text not null, event_name text not null, event_category text,
        event_action text, event_label text, event_value numeric, currency text, page_url text, user_id text, anonymous_id text,
        previous_id text, own_session_id text, referrer text, user_agent text, ip_address inet, country text, city text,
        device_type text, browser text, os text, email_hash bytea, signed_up_at timestamptz, metadata jsonb not null
    ) on commit delete rows
$$;
