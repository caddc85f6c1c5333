-- Tracked events, their visitors and sessions. Nothing has filled the first forms of event_tracking and realtime_sessions.
-- squawk-ignore-file ban-drop-table, ban-drop-constraint, constraint-missing-not-valid
do $$
begin
    if exists (select from public.event_tracking) or exists (select from public.realtime_sessions) then
        raise exception 'event_tracking or realtime_sessions has rows that this project did not write'
            using hint = 'Move them away first: both tables are made anew.';
    end if;
end $$;
drop table public.event_tracking;
drop table public.realtime_sessions;

create table public.event_tracking (
    organization_id uuid not null,
    "timestamp" timestamptz not null,
    received_at timestamptz not null default now(),
    id uuid not null default gen_random_uuid(),
    event_value numeric,
    event_type varchar(10) not null default 'track'
        check (event_type in ('track', 'page', 'screen', 'identify', 'group', 'alias')),
    session_id varchar(255) not null check (session_id <> ''),
    visitor_id varchar(255) not null check (visitor_id <> ''),
    user_id varchar(255) check (user_id = visitor_id),
    anonymous_id varchar(255),
    known_as varchar(255),
    event_name varchar(100) not null check (event_name <> ''),
    event_category varchar(50),
    event_action varchar(50),
    event_label varchar(100),
    currency text check (currency ~ '^[A-Z]{3}$'),
    page_url text,
    metadata jsonb not null default '{}',
    primary key (organization_id, "timestamp", id)
) partition by range ("timestamp");
create index event_tracking_visitor_idx on public.event_tracking (organization_id, visitor_id, "timestamp");
comment on table public.event_tracking is
    'Grain: one message of a tracking client, once (id: of its messageId). timestamp: when it happened, the client''s clock '
    'corrected. visitor_id: the known user, else the anonymous id; user_id: the known user, also of events sent before the '
    'visitor was known; known_as: the id that was sent, where an identity put user_id in its place. metadata: properties, '
    'context, traits. event_value in currency.';

create table public.visitor_sessions (
    organization_id uuid not null,
    started_at timestamptz not null,
    last_activity timestamptz not null,
    events integer not null check (events > 0),
    page_views integer not null check (page_views between 0 and events),
    is_own boolean not null,
    session_id varchar(255) not null check (session_id <> ''),
    visitor_id varchar(255) not null check (visitor_id <> ''),
    primary key (organization_id, visitor_id, session_id, started_at),
    constraint visitor_sessions_activity_follows_start check (last_activity >= started_at)
) partition by range (started_at);
create index visitor_sessions_started_idx on public.visitor_sessions (organization_id, started_at);
comment on table public.visitor_sessions is
    'Grain: one session of a visitor, kept as long as its events. is_own: the client''s own session id; else sessions end '
    'after 30 minutes without an event, and session_id comes of visitor and start. started_at, last_activity: its first and '
    'last event.';

create table public.live_sessions (
    organization_id uuid not null,
    started_at timestamptz not null,
    last_activity timestamptz not null,
    id uuid not null default gen_random_uuid(),
    session_id varchar(255) not null,
    visitor_id varchar(255) not null,
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
    is_active boolean not null default true,
    metadata jsonb not null default '{}',
    primary key (organization_id, visitor_id, session_id, started_at),
    constraint live_sessions_activity_follows_start check (last_activity >= started_at)
) partition by range (started_at);
create index live_sessions_activity_idx on public.live_sessions (organization_id, last_activity);
comment on table public.live_sessions is
    'Grain: one session of the last 24 hours, with what only live eyes need (address, user agent, page). Readers use the '
    'view realtime_sessions, whose is_active and duration_seconds are true at any moment.';

create table public.visitors (
    organization_id uuid not null,
    first_seen_at timestamptz not null,
    signed_up_at timestamptz,
    visitor_id varchar(255) not null check (visitor_id <> ''),
    user_id varchar(255) check (user_id = visitor_id),
    email_hash bytea,
    primary key (organization_id, visitor_id)
);
create index visitors_first_seen_idx on public.visitors (organization_id, first_seen_at);
comment on table public.visitors is
    'Grain: one visitor, over all time: a known user (user_id), or an anonymous one as long as nobody is known behind it. '
    'first_seen_at: first event ever; signed_up_at: first event that says so (Signed Up, Account Created), or the '
    'createdAt trait. email_hash as in customers.';

create table public.visitor_days (
    organization_id uuid not null,
    date date not null,
    visitor_id varchar(255) not null,
    primary key (organization_id, date, visitor_id)
) partition by range (date);
comment on table public.visitor_days is
    'Grain: visitor x day of the organisation''s time zone with at least one event. Kept longer than events: cohorts need it.';

create table public.event_identities (
    organization_id uuid not null,
    identified_at timestamptz not null,
    known_as varchar(255) not null,
    user_id varchar(255) not null,
    primary key (organization_id, known_as),
    constraint event_identities_not_itself check (known_as <> user_id)
);
create index event_identities_user_idx on public.event_identities (organization_id, user_id);
comment on table public.event_identities is
    'Which user is behind an anonymous id, or behind an id given up (alias): the user of the earliest message that names both.';

create table public.event_messages (
    organization_id uuid not null,
    id uuid not null,
    primary key (organization_id, id)
);
comment on table public.event_messages is
    'Which messages were taken in: a message that comes again, be it with another time, is known. Over all partitions, which '
    'a key of event_tracking could not be; leaves with the events.';

create table public.event_keys (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now(),
    revoked_at timestamptz check (revoked_at >= created_at),
    name text not null check (name <> ''),
    hint text not null,
    key_sha256 bytea not null check (octet_length(key_sha256) = 32),
    primary key (organization_id, id)
);
create unique index event_keys_sha256_key on public.event_keys (key_sha256);
comment on table public.event_keys is
    'Write keys of the collector. Only a hash is kept; hint: the first characters, to tell keys apart.';

create table public.funnels (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    window_seconds integer not null check (window_seconds between 1 and 7776000),
    version integer not null default 1 check (version >= 1),
    is_active boolean not null default true,
    unit text not null check (unit in ('user', 'session')),
    funnel_name varchar(100) not null check (funnel_name <> ''),
    steps jsonb not null
        check (case jsonb_typeof(steps) when 'array' then jsonb_array_length(steps) between 1 and 20 else false end),
    primary key (organization_id, funnel_name)
);
comment on table public.funnels is
    'Grain: one funnel of an organisation, in its newest version. steps: [{"name", "event", "type", "page", "properties"}], '
    'in their order. unit: whose path it is, a known user''s or a session''s.';

-- Rejected messages lie beside rejected pages and records.
alter table public.quarantine drop constraint quarantine_level_check;
alter table public.quarantine add constraint quarantine_level_check check (level in ('page', 'record', 'event'));

alter table private.partition_steps drop constraint partition_steps_step_check;
alter table private.partition_steps add constraint partition_steps_step_check check (step in ('hour', 'day', 'month'));
delete from private.partition_steps where parent in ('event_tracking', 'realtime_sessions');
-- Years of events are months of partitions; what lives a day is dropped by the hour.
insert into private.partition_steps (parent, step, fill_factor, ahead) values
    ('event_tracking', 'month', 100, '40 days'),
    ('visitor_sessions', 'month', 80, '40 days'),
    ('visitor_days', 'month', 100, '40 days'),
    ('live_sessions', 'hour', 70, '6 hours');
