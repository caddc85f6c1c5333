-- What cohorts are counted from: who belongs to which cohort, what each did in each period, what each paid on each day.
-- Visitors and events have no rows yet, and customers are few to an index.
-- squawk-ignore-file require-concurrent-index-creation

create table public.cohort_members (
    organization_id uuid not null,
    anchor_date date not null,
    cohort_type varchar(50) not null check (cohort_type in ('signup', 'first_purchase', 'first_visit')),
    member text collate "C" not null check (member ~ '^(user|customer):.'),
    primary key (organization_id, cohort_type, member)
);
create index cohort_members_anchor_idx on public.cohort_members (organization_id, cohort_type, anchor_date);
comment on table public.cohort_members is
    'Grain: cohort type x member, each in one cohort. member: user:<visitor_id> of a tracked user, or '
    'customer:<data source>:<customer_key> of a store''s customer. anchor_date: day of the organisation''s time zone on '
    'which they signed up, first bought or first came.';

create table public.cohort_persons (
    organization_id uuid not null,
    member text collate "C" not null check (member like 'customer:%'),
    person text collate "C" not null check (person like 'user:%'),
    primary key (organization_id, member)
);
create index cohort_persons_person_idx on public.cohort_persons (organization_id, person);
comment on table public.cohort_persons is
    'Which tracked user a store''s customer is: the one with the same id, else the one with the same e-mail address. '
    'Customers whom nobody tracks have no row.';

create table public.cohort_visits (
    organization_id uuid not null,
    period_start date not null,
    signup_cohort date,
    visit_cohort date,
    days integer not null,
    period_type varchar(20) not null check (period_type in ('week', 'month')),
    member text collate "C" not null check (member like 'user:%'),
    primary key (organization_id, period_type, period_start, member),
    -- (In numbers: a run writes as many rows as there were visitors, and date_trunc took a tenth of its time. 2001 began on a Monday.)
    constraint cohort_visits_begins_period check (
        case period_type when 'week' then (period_start - date '2001-01-01') % 7 = 0 else extract(day from period_start) = 1 end),
    constraint cohort_visits_within_period check (days > 0 and (period_type = 'month' or days < 128)),
    constraint cohort_visits_not_before_cohort check (signup_cohort <= period_start and visit_cohort <= period_start)
) with (fillfactor = 70);
comment on table public.cohort_visits is
    'Grain: known user x week or month with a session or event. days: bit n is set where it was on day n of the period, so '
    'that each day can be computed again by itself. signup_cohort, visit_cohort: start of the period in which the user''s '
    'cohort lies; null where the user has none, or one that is later.';

create table public.cohort_orders (
    organization_id uuid not null,
    date date not null,
    is_order boolean not null,
    member text collate "C" not null check (member ~ '^(user|customer):.'),
    revenue numeric not null,
    primary key (organization_id, member, date)
);
create index cohort_orders_date_idx on public.cohort_orders (organization_id, date);
comment on table public.cohort_orders is
    'Grain: customer (or user whose purchases are tracked) x day of the organisation''s time zone. is_order: a qualifying '
    'order lies on it. revenue: orders less refunds of the day, in the organisation''s currency.';

create table public.cohort_state (
    organization_id uuid primary key references public.organizations (id) on delete cascade,
    week date not null check (week = date_trunc('week', week::timestamp)::date),
    month date not null check (month = date_trunc('month', month::timestamp)::date),
    has_orders boolean not null,
    time_zone text not null,
    currency text not null
);
comment on table public.cohort_state is
    'Grain: organisation. With which time zone, currency and kind of purchases (has_orders: of a store, else tracked) its '
    'cohorts were counted, and up to which running week and month.';

-- (The organisation last: while a table has no statistics, an index that begins with it looks as cheap as the primary key.)
create index visitors_email_idx on public.visitors (email_hash, organization_id) where email_hash is not null and user_id is not null;
create index visitors_signed_up_idx on public.visitors (signed_up_at, organization_id) where signed_up_at is not null;
create index customers_registered_idx on public.customers (organization_id, registered_at) where registered_at is not null;
create index cohort_analysis_cohorts_idx on public.cohort_analysis (organization_id, cohort_type, period_type, cohort_date)
    where period_number = 0;
