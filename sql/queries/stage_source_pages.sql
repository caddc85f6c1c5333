-- Once a connection: where the pages of many sources are put down before they are stored in one transaction.
create temp table if not exists source_pages (
    slot integer not null, organization_id uuid not null, data_source_id uuid not null, lease_owner uuid not null,
    source text not null, stream text not null, task_stream text not null, purpose text not null, is_report boolean not null,
    fetch_id uuid not null, page integer not null, is_last boolean not null, task_start timestamptz not null,
    task_end timestamptz not null, window_start timestamptz, window_end timestamptz, fetched_at timestamptz not null,
    api_version text, time_zone text not null, currency text not null, content_sha256 bytea not null, records integer not null,
    instants timestamptz[] not null, keys text[] not null, position jsonb, request jsonb, raw_data jsonb not null
) on commit delete rows;
create temp table if not exists source_cells (
    slot integer not null, metric_id smallint not null, channel_id smallint not null, bucket_at timestamptz, date date,
    value numeric not null, weight numeric, currency text
) on commit delete rows
