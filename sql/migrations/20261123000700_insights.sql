-- What an operator acts on: insights and alerts.

create table public.ai_insights (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    insight_type varchar(50) not null check (insight_type in ('anomaly', 'recommendation', 'trend', 'opportunity')),
    insight_key text not null,
    title varchar(255) not null check (title <> ''),
    description text not null,
    severity varchar(20) not null check (severity in ('low', 'medium', 'high', 'critical')),
    confidence_score numeric(3, 2) not null default 0 check (confidence_score between 0 and 1),
    data_points jsonb not null default '{}',
    recommendations jsonb not null default '[]' check (jsonb_typeof(recommendations) = 'array'),
    is_actionable boolean not null default true,
    is_read boolean not null default false,
    expires_at timestamptz,
    closed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (organization_id, id)
);
comment on column public.ai_insights.insight_key is
    'What the insight is about (rule, channel, metric, window): one open insight a key.';
create unique index ai_insights_open_key on public.ai_insights (organization_id, insight_key) where closed_at is null;
create index ai_insights_created_idx on public.ai_insights (organization_id, created_at desc);
create index ai_insights_unread_idx on public.ai_insights (organization_id, created_at desc) where not is_read;

create table public.performance_alerts (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    alert_type varchar(50) not null check (alert_type in ('threshold_breach', 'anomaly_detected', 'goal_at_risk')),
    channel varchar(50) not null,
    metric varchar(100) not null,
    current_value numeric not null,
    threshold_value numeric not null,
    threshold_type varchar(20) not null check (threshold_type in ('above', 'below', 'percentage_change')),
    message text not null,
    details jsonb not null default '{}',
    is_active boolean not null default true,
    is_acknowledged boolean not null default false,
    acknowledged_by uuid,
    acknowledged_at timestamptz,
    resolved_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (organization_id, id),
    constraint performance_alerts_acknowledged_when check (is_acknowledged = (acknowledged_at is not null)),
    constraint performance_alerts_resolved_is_inactive check (is_active = (resolved_at is null))
);
create unique index performance_alerts_one_active on public.performance_alerts
    (organization_id, alert_type, channel, metric, threshold_type, threshold_value) where is_active;
create index performance_alerts_created_idx on public.performance_alerts (organization_id, created_at desc);
create index performance_alerts_acknowledged_by_idx on public.performance_alerts (acknowledged_by)
    where acknowledged_by is not null;
do $$
begin
    -- Only where the platform brings users (Supabase); deleting one keeps the alert.
    if to_regclass('auth.users') is not null then
        alter table public.performance_alerts add constraint performance_alerts_acknowledged_by_fkey
            foreign key (acknowledged_by) references auth.users (id) on delete set null;
    end if;
end $$;
