-- Tracked events and live sessions.

create table public.event_tracking (
    organization_id uuid not null,
    "timestamp" timestamptz not null,
    received_at timestamptz not null default now(),
    id uuid not null default gen_random_uuid(),
    session_id varchar(255) not null,
    user_id varchar(255),
    anonymous_id varchar(255),
    event_name varchar(100) not null check (event_name <> ''),
    event_category varchar(50),
    event_action varchar(50),
    event_label varchar(100),
    event_value numeric,
    page_url text,
    metadata jsonb not null default '{}',
    primary key (organization_id, "timestamp", id)
) partition by range ("timestamp");
create index event_tracking_session_idx on public.event_tracking (organization_id, session_id, "timestamp");
create index event_tracking_name_idx on public.event_tracking (organization_id, event_name, "timestamp");
create index event_tracking_user_idx on public.event_tracking (organization_id, user_id, "timestamp")
    where user_id is not null;

create table public.realtime_sessions (
    organization_id uuid not null,
    started_at timestamptz not null,
    last_activity timestamptz not null,
    id uuid not null default gen_random_uuid(),
    session_id varchar(255) not null,
    user_id varchar(255),
    page_url text not null,
    referrer text,
    user_agent text,
    ip_address inet,
    country varchar(2) check (country ~ '^[A-Z]{2}$'),
    city varchar(100),
    device_type varchar(20) check (device_type in ('desktop', 'mobile', 'tablet', 'bot', 'other')),
    browser varchar(50),
    os varchar(50),
    duration_seconds integer not null default 0 check (duration_seconds >= 0),
    is_active boolean not null default true,
    metadata jsonb not null default '{}',
    primary key (organization_id, session_id, started_at),
    constraint realtime_sessions_activity_follows_start check (last_activity >= started_at)
) partition by range (started_at);
create index realtime_sessions_active_idx on public.realtime_sessions (organization_id, last_activity) where is_active;
