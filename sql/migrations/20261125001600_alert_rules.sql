-- Rules by which organisations are alerted, what an alert says of its rule, and how far the telling of it has come.
-- performance_alerts has no rows yet: indexes and constraints on it are made in a moment.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion, constraint-missing-not-valid, adding-field-with-default

create table public.alert_rules (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    judged_from timestamptz not null default now() - interval '1 day',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    confirm smallint not null default 2 check (confirm between 1 and 6),
    is_active boolean not null default true,
    quiet_from time,
    quiet_to time,
    name varchar(100) not null check (name <> ''),
    channel varchar(50) not null check (channel ~ '^[a-z][a-z0-9_]{1,49}$'),
    metric text not null references public.metrics (metric),
    grain text not null check (grain in ('hour', 'day')),
    kind text not null check (kind in ('above', 'below', 'change', 'goal')),
    threshold numeric not null check (threshold > '-infinity' and threshold < 'infinity'),
    clear_threshold numeric not null,
    minimum_base numeric not null default 0 check (minimum_base >= 0 and minimum_base < 'infinity'),
    primary key (organization_id, id),
    unique (organization_id, name),
    constraint alert_rules_clear_inside check (
        case when kind = 'above' or kind = 'change' and threshold > 0 then clear_threshold <= threshold
             else clear_threshold >= threshold end and clear_threshold > '-infinity' and clear_threshold < 'infinity'),
    constraint alert_rules_change_has_direction check (kind <> 'change' or threshold <> 0 and clear_threshold * threshold >= 0),
    constraint alert_rules_goal_by_day check (kind <> 'goal' or grain = 'day' and threshold > 0),
    constraint alert_rules_quiet_whole check ((quiet_from is null) = (quiet_to is null) and quiet_from <> quiet_to)
);
comment on table public.alert_rules is
    'What an organisation is alerted to. above, below: the value of an hour or day; change: percent against the same local hour or '
    'weekday a week before; goal: where the month heads by its days so far. It fires after confirm buckets in a row, or at once a fifth '
    'beyond the threshold, and clears at clear_threshold. channel all: over all channels. Buckets that ended before judged_from are not judged.';
comment on column public.alert_rules.minimum_base is
    'A change is judged where the week before had so much, a ratio where its denominator is so much.';
comment on column public.alert_rules.quiet_from is
    'From quiet_from to quiet_to, in the organisation''s time zone, nobody is told: notices wait for its end.';

alter table public.performance_alerts
    add column rule_id uuid,
    add column fired_bucket timestamptz,
    add column cleared_bucket timestamptz,
    add column withdrawn_at timestamptz,
    add column transitions smallint not null default 0,
    add constraint performance_alerts_of_a_rule check ((rule_id is null) = (fired_bucket is null)),
    add constraint performance_alerts_withdrawn_is_inactive check (withdrawn_at is null or not is_active);
comment on column public.performance_alerts.fired_bucket is
    'The bucket (UTC hour, or midnight UTC of the local day) in which its rule fired; cleared_bucket: in which it cleared.';
comment on column public.performance_alerts.withdrawn_at is 'Later data says that it was never true.';
comment on column public.performance_alerts.transitions is 'How often it opened, was resolved or was withdrawn; a notice is one of these.';

-- Of rules one a rule; what has no rule keeps one a threshold.
drop index public.performance_alerts_one_active;
create unique index performance_alerts_one_active on public.performance_alerts
    (organization_id, alert_type, channel, metric, threshold_type, threshold_value) where is_active and rule_id is null;
create unique index performance_alerts_one_active_a_rule on public.performance_alerts (organization_id, rule_id)
    where is_active and rule_id is not null;
create index performance_alerts_rule_idx on public.performance_alerts (organization_id, rule_id, fired_bucket) where rule_id is not null;

create table public.alert_notices (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    alert_id uuid not null,
    created_at timestamptz not null default now(),
    next_attempt_at timestamptz not null default now(),
    delivered_at timestamptz,
    attempts integer not null default 0 check (attempts >= 0),
    transition smallint not null check (transition >= 1),
    is_silent boolean not null default false,
    channel text not null check (channel in ('webhook', 'slack', 'email')),
    state text not null check (state in ('open', 'resolved', 'withdrawn')),
    error text,
    primary key (organization_id, alert_id, transition, channel),
    constraint alert_notices_silent_is_done check (not is_silent or delivered_at is not null)
);
comment on table public.alert_notices is
    'Grain: alert x change of its state x way by which it is told. Made in the transaction that changes the state; delivered at least '
    'once. is_silent: overtaken by a later change before it was told.';
create index alert_notices_due_idx on public.alert_notices (channel, next_attempt_at) where delivered_at is null;
