-- What keeps a source in step with its vendor: when it is due, who is at work on it, how far each stream has come.
-- One row a connected account: its constraints are checked, and indexes are made, in a moment. The index on orders holds only
-- the few that were cancelled.
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-creation, adding-field-with-default

alter table public.data_sources
    add column next_sync_at timestamptz not null default now(),
    add column reread_due_at timestamptz,
    add column reread_at timestamptz,
    add column history_from date,
    add column lease_owner uuid,
    add column lease_until timestamptz,
    add column failures integer not null default 0,
    add column failure_kind text,
    add column account_name text,
    add column is_connected boolean generated always as (connection_config ? '$secrets') stored,
    add constraint data_sources_failure_kind_known check (failure_kind in (
        'retry', 'throttled', 'reauthorize', 'permission', 'configuration', 'reduce', 'bug')),
    add constraint data_sources_failures_counted check (failures >= 0),
    add constraint data_sources_lease_whole check ((lease_owner is null) = (lease_until is null)),
    -- Secrets are sealed by the application, under the key $secrets. This holds back whoever writes one in clear: by the
    -- usual names, and by the form that the vendors give them. (A quote within a value is \" in the text.)
    add constraint data_sources_secrets_sealed check (
        (connection_config - '$secrets')::text !~* '"(access_token|refresh_token|id_token|token|client_secret|app_secret|consumer_key|consumer_secret|service_account|private_key|api_key|apikey|password|passwd|secret|secrets|authorization|credentials)": '
        and (connection_config - '$secrets')::text !~ '(EAA[A-Za-z0-9]{20}|shp[a-z]{2,3}_[0-9A-Za-z]{16}|(ck|cs)_[0-9a-f]{32}|-----BEGIN|ya29\.[0-9A-Za-z_-]{16}|1//[0-9A-Za-z_-]{16}|GOCSPX-)'
        and (not connection_config ? '$secrets'
             or coalesce(connection_config #>> '{$secrets,$enc}', '') = 'v1'
                and coalesce(connection_config #>> '{$secrets,ct}', '') like 'gAAAA%'
                and (connection_config -> '$secrets') - '{$enc,kid,ct}'::text[] = '{}'));
create index data_sources_due_idx on public.data_sources (next_sync_at) where is_active and is_connected;
comment on column public.data_sources.is_connected is 'Has credentials, and is synced live; pages of others come from files.';
comment on column public.data_sources.lease_until is
    'A worker is at work on this source until then, and longer while it stores pages. A lease that has run out is a worker that died.';
comment on column public.data_sources.failure_kind is
    'Why the last sync failed. retry and throttled are tried again by themselves, at next_sync_at; the others wait for an operator.';

create table public.sync_streams (
    organization_id uuid not null,
    data_source_id uuid not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    covered_from timestamptz,
    covered_to timestamptz,
    completed_at timestamptz,
    updated_at timestamptz not null default now(),
    stream text not null check (stream ~ '^[a-z][a-z0-9_]*$'),
    purpose text not null check (purpose in ('incremental', 'reread', 'backfill')),
    position jsonb,
    fetch_id uuid,
    primary key (organization_id, data_source_id, stream, purpose),
    foreign key (organization_id, data_source_id) references public.data_sources (organization_id, id) on delete cascade,
    check (window_end > window_start)
);
comment on table public.sync_streams is
    'How far a stream of a source has come. window: the one under way or last read. position: where its next page begins, '
    'null when it is complete. covered: what is complete without a gap.';

alter table public.raw_data_backup
    add column fetch_id uuid,
    add column time_zone text,
    add column currency text,
    add column request jsonb;
comment on column public.raw_data_backup.fetch_id is 'Of a report: the pages that make one answer.';
comment on column public.raw_data_backup.time_zone is 'Zone of the account when the page was fetched.';

create table public.raw_report_digests (
    organization_id uuid not null,
    data_source_id uuid not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    fetched_at timestamptz not null,
    stream text not null,
    content_sha256 bytea not null,
    primary key (organization_id, data_source_id, stream, window_start, window_end)
);
comment on table public.raw_report_digests is
    'What a report said last of a window: an answer that says the same again is not stored anew.';

alter table public.metric_observations add column currency text;
create index metric_observations_foreign_idx on public.metric_observations (organization_id, bucket_at) where currency is not null;
comment on column public.metric_observations.currency is
    'Currency of the value where it is money in another one than the organisation''s; converted when it is summed.';

create table public.daily_observations (
    organization_id uuid not null,
    data_source_id uuid not null,
    date date not null,
    metric_id smallint not null,
    channel_id smallint not null,
    value numeric not null,
    weight numeric,
    currency text,
    primary key (organization_id, metric_id, channel_id, date, data_source_id)
) partition by range (date);
comment on table public.daily_observations is
    'Grain: organisation x source x metric x day of the account, as the vendor''s daily report says it: what hours do not '
    'make up (distinct people, conversions that are known by the day only, means with their weight).';
insert into private.partition_steps (parent, step, fill_factor, ahead) values ('daily_observations', 'month', 90, '40 days');

create table private.report_metrics (
    source_type text not null,
    stream text not null,
    native text not null,
    metric_id smallint not null references public.metrics (metric_id),
    grain text not null check (grain in ('hour', 'day')),
    primary key (source_type, stream, native)
);
insert into private.report_metrics (source_type, stream, native, metric_id, grain) values
    ('google_analytics', 'hourly', 'sessions', 1, 'hour'),
    ('google_analytics', 'hourly', 'engagedSessions', 2, 'hour'),
    ('google_analytics', 'hourly', 'newUsers', 5, 'hour'),
    ('google_analytics', 'hourly', 'screenPageViews', 6, 'hour'),
    ('google_analytics', 'hourly', 'eventCount', 7, 'hour'),
    ('google_analytics', 'hourly', 'keyEvents', 8, 'hour'),
    ('google_analytics', 'hourly', 'addToCarts', 15, 'hour'),
    ('google_analytics', 'hourly', 'checkouts', 16, 'hour'),
    ('google_analytics', 'hourly', 'ecommercePurchases', 17, 'hour'),
    ('google_analytics', 'hourly', 'totalRevenue', 19, 'hour'),
    ('google_analytics', 'hourly_engagement', 'userEngagementDuration', 9, 'hour'),
    ('google_analytics', 'hourly_engagement', 'itemsViewed', 14, 'hour'),
    ('google_analytics', 'hourly_engagement', 'purchaseRevenue', 18, 'hour'),
    ('google_analytics', 'daily', 'activeUsers', 3, 'day'),
    ('google_analytics', 'daily', 'totalUsers', 4, 'day'),
    ('google_analytics', 'daily', 'averageSessionDuration', 10, 'day'),
    ('meta_ads', 'hourly', 'impressions', 23, 'hour'),
    ('meta_ads', 'hourly', 'clicks', 24, 'hour'),
    ('meta_ads', 'hourly', 'inline_link_clicks', 25, 'hour'),
    ('meta_ads', 'hourly', 'outbound_clicks', 26, 'hour'),
    ('meta_ads', 'hourly', 'spend', 27, 'hour'),
    ('meta_ads', 'hourly', 'video_view', 35, 'hour'),
    ('meta_ads', 'daily', 'reach', 28, 'day'),
    ('meta_ads', 'daily', 'landing_page_view', 30, 'day'),
    ('meta_ads', 'daily', 'add_to_cart', 31, 'day'),
    ('meta_ads', 'daily', 'initiate_checkout', 32, 'day'),
    ('meta_ads', 'daily', 'purchase', 33, 'day'),
    ('meta_ads', 'daily', 'purchase_value', 34, 'day');
comment on table private.report_metrics is 'Which figure of a vendor''s report is which metric of the catalogue.';

alter table public.orders
    add column cancelled_at timestamptz,
    add column cancelled_bucket timestamptz;
create index orders_cancelled_idx on public.orders (organization_id, cancelled_bucket) where cancelled_bucket is not null;

create table public.order_sales (
    organization_id uuid not null,
    data_source_id uuid not null,
    bucket_at timestamptz not null,
    occurred_at timestamptz not null,
    channel_id smallint not null references public.channels,
    is_counted boolean not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    sale_id text not null,
    order_id text not null,
    agreement_id text not null,
    reason text not null,
    action text not null,
    line_type text not null,
    quantity numeric not null,
    total numeric not null,
    taxes numeric not null,
    discounts numeric not null,
    primary key (organization_id, data_source_id, sale_id)
);
comment on table public.order_sales is
    'Grain: one sale of an agreement of a Shopify order, in the hour in which it was agreed: what was sold, changed or given '
    'back. total: after discounts, with tax; negative for what was given back. Over an order they make its current total.';
create index order_sales_bucket_idx on public.order_sales (organization_id, bucket_at);
create index order_sales_order_idx on public.order_sales (organization_id, data_source_id, order_id);
