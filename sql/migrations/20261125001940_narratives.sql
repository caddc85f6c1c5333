-- Insights in a language model's words: the text beside the template's, which organisations agree to it, and what was asked of it.
-- (The check holds where there is nothing yet; insights are some thousands, and few of them are in the index.)
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-creation
alter table public.ai_insights
    add column narrative text,
    add constraint ai_insights_narrative_length check (length(narrative) between 1 and 4000);
comment on column public.ai_insights.narrative is
    'description in a language model''s words, every figure of it checked; null: the template stands. Dropped when what it tells changes.';
-- (Every minute it is looked for what is due, over all organisations.)
create index ai_insights_unworded_idx on public.ai_insights (coalesce(closed_at, 'infinity'))
    where narrative is null and withdrawn_at is null and not is_dismissed and severity in ('high', 'critical');

create table public.narrative_consents (
    organization_id uuid primary key references public.organizations (id) on delete cascade,
    updated_at timestamptz not null default now(),
    is_given boolean not null
);
comment on table public.narrative_consents is
    'Grain: organisation. Whether the figures of its insights may be sent to the language model of the deployment; without a row: no.';

create table public.narrative_calls (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    id uuid not null default gen_random_uuid(),
    insight_id uuid not null,
    version uuid not null,
    called_at timestamptz not null default now(),
    answered_at timestamptz,
    dollars numeric(12, 6) not null check (dollars >= 0),
    tokens integer not null check (tokens >= 0),
    outcome text not null default 'begun' check (outcome in ('begun', 'written', 'refused', 'failed', 'outdated')),
    reason text,
    primary key (organization_id, id),
    constraint narrative_calls_answered_after check (answered_at >= called_at),
    constraint narrative_calls_begun_is_open check ((outcome = 'begun') = (answered_at is null)),
    constraint narrative_calls_says_why check ((outcome in ('refused', 'failed')) = (reason is not null))
);
comment on table public.narrative_calls is
    'Grain: one call of the language model. tokens and dollars: at most so much until it is answered, then what it took; the sums of a '
    'UTC day are held against its limits, so a call of which nobody knows the end counts in full. refused: the text did not pass its checks; failed: '
    'there was none; outdated: the insight had changed meanwhile. Kept for 90 days.';
create index narrative_calls_called_idx on public.narrative_calls (called_at);
create index narrative_calls_insight_idx on public.narrative_calls (organization_id, insight_id, called_at);
