create temp table sandbox_sources (
    organization_id uuid not null, slug text not null, name text not null, organization_zone text not null,
    organization_currency text not null, id uuid not null, source_type text not null, source_name text not null,
    connection_config jsonb not null, time_zone text not null, currency text not null, history_from date not null,
    sync_frequency_minutes integer not null
) on commit drop;
create temp table sandbox_rates (from_currency text not null, to_currency text not null, rate numeric not null) on commit drop
