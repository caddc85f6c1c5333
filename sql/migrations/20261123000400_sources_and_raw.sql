-- Connected sources, their sync logs, verbatim response pages, and what could not be taken in.

create table public.data_sources (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    source_type varchar(50) not null
        check (source_type in ('google_analytics', 'meta_ads', 'woocommerce', 'shopify', 'events')),
    source_name varchar(255) not null,
    connection_config jsonb not null default '{}' check (jsonb_typeof(connection_config) = 'object'),
    time_zone text not null check (private.is_time_zone(time_zone)),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    is_active boolean not null default true,
    last_sync_at timestamptz,
    sync_frequency_minutes integer not null default 15 check (sync_frequency_minutes between 1 and 44640),
    sync_status varchar(20) not null default 'idle' check (sync_status in ('idle', 'running', 'failed', 'success')),
    last_error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (organization_id, id),
    unique (organization_id, source_type, source_name)
);
comment on column public.data_sources.time_zone is
    'Zone of the account at the vendor: hours of its facts are hours of this zone.';

create table public.sync_logs (
    organization_id uuid not null,
    started_at timestamptz not null,
    id uuid not null default gen_random_uuid(),
    data_source_id uuid not null,
    sync_type varchar(50) not null check (sync_type in ('full', 'incremental', 'backfill')),
    status varchar(20) not null check (status in ('started', 'completed', 'failed')),
    records_processed integer not null default 0 check (records_processed >= 0),
    records_created integer not null default 0 check (records_created >= 0),
    records_updated integer not null default 0 check (records_updated >= 0),
    records_failed integer not null default 0 check (records_failed >= 0),
    completed_at timestamptz check (completed_at >= started_at),
    duration_seconds integer check (duration_seconds >= 0),
    error_message text,
    metadata jsonb not null default '{}',
    primary key (organization_id, started_at, id)
) partition by range (started_at);
create index sync_logs_source_idx on public.sync_logs (organization_id, data_source_id, started_at);

create table public.raw_data_backup (
    organization_id uuid not null,
    fetched_at timestamptz not null,
    window_start timestamptz,
    window_end timestamptz,
    created_at timestamptz not null default now(),
    id uuid not null default gen_random_uuid(),
    data_source_id uuid,
    page integer not null default 1 check (page >= 1),
    processed boolean not null default false,
    source varchar(50) not null
        check (source in ('google_analytics', 'meta_ads', 'woocommerce', 'shopify', 'events')),
    stream text not null check (stream ~ '^[a-z][a-z0-9_]*$'),
    api_version text,
    content_sha256 bytea not null check (octet_length(content_sha256) = 32),
    raw_data jsonb not null,
    primary key (organization_id, source, stream, fetched_at, id),
    check (window_end >= window_start)
) partition by range (fetched_at);
comment on table public.raw_data_backup is
    'Grain: one response page of one stream, as the vendor sent it. window: first and last instant of the records on it. '
    'content_sha256: over the bytes as received.';
create index raw_data_backup_open_idx on public.raw_data_backup (organization_id, source) where not processed;
create index raw_data_backup_window_idx on public.raw_data_backup (organization_id, source, stream, window_start);

create table public.raw_page_digests (
    organization_id uuid not null,
    source varchar(50) not null,
    stream text not null,
    content_sha256 bytea not null,
    data_source_id uuid not null,
    first_fetched_at timestamptz not null,
    last_fetched_at timestamptz not null,
    primary key (organization_id, data_source_id, stream, content_sha256)
);
comment on table public.raw_page_digests is
    'Which pages raw_data_backup holds: a page that comes again is stored once. Over all days, which a key of the '
    'partitioned table could not be.';

create table public.quarantine (
    organization_id uuid not null,
    id uuid not null default gen_random_uuid(),
    source varchar(50) not null,
    stream text not null,
    data_source_id uuid,
    level text not null check (level in ('page', 'record')),
    record_key text,
    field text,
    reason text not null,
    file_name text,
    line_number bigint,
    window_start timestamptz,
    window_end timestamptz,
    record_modified_at timestamptz,
    content bytea,
    content_sha256 bytea not null,
    quarantined_at timestamptz not null default now(),
    resolution text check (resolution in ('superseded', 'discarded')),
    resolved_at timestamptz,
    primary key (organization_id, id),
    constraint quarantine_resolution_has_time check ((resolution is null) = (resolved_at is null))
);
comment on table public.quarantine is
    'Pages and records that could not be taken in, with the reason. level page: no JSON, or not of the stream''s shape; '
    'kept byte by byte in content. level record: a record of a page in raw_data_backup; its hours stay failed until a '
    'sound version arrives (superseded) or an operator discards it.';
create unique index quarantine_once_idx on public.quarantine
    (organization_id, source, stream, level, content_sha256, coalesce(record_key, ''));
create index quarantine_open_idx on public.quarantine (organization_id, level, window_start) where resolution is null;
