-- What is computed, for which organisation and bucket; written in the transaction that writes the rows.

create table public.partition_ledger (
    organization_id uuid not null,
    bucket timestamptz not null,
    computed_at timestamptz,
    next_attempt_at timestamptz,
    run_id uuid,
    input_version integer not null default 1,
    computed_version integer,
    row_count integer not null default 0 check (row_count >= 0),
    attempts smallint not null default 0,
    status text not null check (status in ('stale', 'waiting', 'done', 'failed')),
    asset text not null check (asset ~ '^[a-z][a-z0-9_]+$'),
    error text,
    primary key (organization_id, asset, bucket),
    constraint partition_ledger_done_is_computed check (status <> 'done' or computed_version is not null),
    constraint partition_ledger_failed_says_why check (status not in ('failed', 'waiting') or error is not null)
) partition by range (bucket);
comment on table public.partition_ledger is
    'Grain: organisation x asset x bucket (the UTC hour of an hourly asset; the local day, as midnight UTC of its date, '
    'of a daily one). stale: its input changed since it was computed (input_version > computed_version). waiting: its '
    'input is not complete yet. failed: this organisation''s input is broken; error says what to do.';
create index partition_ledger_open_idx on public.partition_ledger (next_attempt_at, asset) where status <> 'done';
