-- Facts by hour and by day. Readers use the views hourly_aggregates and daily_aggregates.

create table public.metric_observations (
    organization_id uuid not null,
    bucket_at timestamptz not null,
    data_source_id uuid not null,
    metric_id smallint not null,
    channel_id smallint not null,
    value numeric not null,
    primary key (organization_id, metric_id, channel_id, bucket_at, data_source_id)
) partition by range (bucket_at);
comment on table public.metric_observations is
    'Grain: organisation x source x metric x hour, as a report stream (a snapshot of the vendor''s own sums) says it: '
    'the newest fetch that covers an hour replaces what stood there. Money in the organisation''s currency.';

create table public.hourly_facts (
    organization_id uuid not null,
    "timestamp" timestamptz not null,
    updated_at timestamptz not null default now(),
    metric_id smallint not null,
    channel_id smallint not null,
    value numeric not null,
    primary key (organization_id, metric_id, channel_id, "timestamp")
) partition by range ("timestamp");
comment on table public.hourly_facts is
    'Grain: organisation x metric x channel x local hour of the source, timestamp being the UTC instant at which that '
    'hour begins. Only hours with something in them have rows: no row is 0 for a sum.';

create table public.daily_facts (
    organization_id uuid not null,
    updated_at timestamptz not null default now(),
    date date not null,
    metric_id smallint not null,
    channel_id smallint not null,
    value numeric not null,
    primary key (organization_id, metric_id, channel_id, date)
) partition by range (date);
comment on table public.daily_facts is
    'Grain: organisation x metric x channel x day of the organisation''s time zone.';
