-- What an organisation keeps for less time than the deployment does.
create table public.organization_retention (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    layer text not null check (layer in ('raw', 'hourly', 'daily', 'events', 'logs', 'quarantine')),
    -- The sensor of missing hours looks back seven days: what it finds missing there it would compute again.
    keep_days integer not null check (keep_days between 8 and 36500),
    removed_to timestamptz,
    updated_at timestamptz not null default now(),
    primary key (organization_id, layer)
);
comment on table public.organization_retention is
    'Grain: one layer of an organisation that asks for less than the deployment keeps. keep_days: whole days of the '
    'organisation''s time zone; what is older is deleted by the daily maintenance, once a later layer has taken it in. '
    'removed_to: before this instant hours or events are gone, and not merely none.';
