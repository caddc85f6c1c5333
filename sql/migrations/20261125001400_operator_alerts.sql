-- What operators are told of sources that do not come to rights by themselves, and how far the telling has come.

-- (Nobody's but the pipeline's: no tenant reads them.)
create table public.operator_alerts (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    data_source_id uuid not null,
    opened_at timestamptz not null default now(),
    resolved_at timestamptz,
    failures integer not null check (failures >= 0),
    reason text not null check (reason in ('failing', 'stopped', 'late')),
    message text not null check (message <> ''),
    what_to_do text not null,
    primary key (organization_id, id),
    constraint operator_alerts_resolved_after check (resolved_at >= opened_at)
);
comment on table public.operator_alerts is
    'Grain: one state of trouble of a source, from opened_at to resolved_at (null: it goes on). failing: so many syncs in a row '
    'failed; stopped: it waits for an operator; late: it is due, and nobody syncs it, or tracked events are silent.';
create unique index operator_alerts_one_active on public.operator_alerts (organization_id, data_source_id, reason)
    where resolved_at is null;
create index operator_alerts_opened_idx on public.operator_alerts (opened_at);

create table public.operator_notices (
    organization_id uuid not null,
    alert_id uuid not null,
    created_at timestamptz not null default now(),
    next_attempt_at timestamptz not null default now(),
    delivered_at timestamptz,
    attempts integer not null default 0 check (attempts >= 0),
    state text not null check (state in ('open', 'resolved')),
    channel text not null check (channel in ('webhook', 'slack')),
    error text,
    primary key (organization_id, alert_id, state, channel),
    foreign key (organization_id, alert_id) references public.operator_alerts (organization_id, id) on delete cascade
);
comment on table public.operator_notices is
    'Grain: alert x state x channel by which it is told. Made in the transaction that changes the state; delivered at least once.';
create index operator_notices_due_idx on public.operator_notices (channel, next_attempt_at) where delivered_at is null;
