create temp table staged_pages (
    line_number bigint not null, fetched_at timestamptz not null, content_sha256 bytea not null, records integer not null,
    instants timestamptz[] not null, raw_data text not null
) on commit drop
