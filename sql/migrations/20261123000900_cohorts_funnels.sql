-- Cohorts and funnels.

create table public.cohort_analysis (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    cohort_type varchar(50) not null check (cohort_type in ('signup', 'first_purchase', 'first_visit')),
    period_type varchar(20) not null check (period_type in ('week', 'month')),
    cohort_date date not null,
    period_number integer not null check (period_number >= 0),
    cohort_size integer not null check (cohort_size > 0),
    active_users integer not null check (active_users between 0 and cohort_size),
    retention_rate numeric(5, 4) generated always as (round(active_users::numeric / nullif(cohort_size, 0), 4)) stored,
    revenue numeric not null default 0,
    is_complete boolean not null,
    id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now(),
    primary key (organization_id, cohort_type, period_type, cohort_date, period_number),
    constraint cohort_analysis_date_begins_period check (
        cohort_date = date_trunc(period_type, cohort_date::timestamp)::date)
);

create table public.funnel_analysis (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    funnel_name varchar(100) not null,
    date date not null,
    step_order integer not null check (step_order >= 1),
    step_name varchar(100) not null,
    visitors integer not null check (visitors >= 0),
    conversions integer not null check (conversions between 0 and visitors),
    conversion_rate numeric(5, 4) generated always as (
        case when visitors = 0 then 0 else round(conversions::numeric / visitors, 4) end) stored,
    drop_off_rate numeric(5, 4) generated always as (
        case when visitors = 0 then 0 else 1 - round(conversions::numeric / visitors, 4) end) stored,
    id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now(),
    primary key (organization_id, funnel_name, date, step_order)
);
