-- People who were erased: who did it and when, and by what their data is known when it comes again.

create table public.erasures (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    done_by text not null default session_user check (done_by <> ''),
    counts jsonb not null default '{}' check (jsonb_typeof(counts) = 'object'),
    primary key (organization_id, id),
    constraint erasures_finish_follows_start check (finished_at >= started_at)
);
create unique index erasures_one_at_a_time on public.erasures (organization_id) where finished_at is null;
comment on table public.erasures is
    'Grain: one person erased. done_by: the database''s user. counts: rows changed by table. finished_at null: it is under way, '
    'or was interrupted and goes on with the next call. Nothing here says who the person was.';

create table public.erasure_salts (
    organization_id uuid primary key references public.organizations (id) on delete cascade,
    salt bytea not null check (octet_length(salt) >= 16)
);
comment on table public.erasure_salts is 'What an organisation''s digests of erased ids are salted with; random.';

create table public.erased_ids (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    erasure uuid not null,
    digest bytea not null check (octet_length(digest) = 32),
    token text not null check (token like 'erased\_%' or token like '%@erased.invalid'),
    scope text,
    plain text,
    primary key (organization_id, digest),
    constraint erased_ids_forgotten_whole check ((scope is null) = (plain is null))
);
create index erased_ids_under_way_idx on public.erased_ids (organization_id) where plain is not null;
comment on table public.erased_ids is
    'Grain: one id or e-mail address of somebody who was erased. digest: sha256 of salt, scope and id, by which it is known when '
    'it comes again. erasure: that listed it first. token: random, stands in its place. scope (site, e-mail, or a source''s id) and plain: only while the erasure '
    'is under way. Sorted, the tokens of a person stand as the ids did.';
