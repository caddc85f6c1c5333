-- Funnels: which rows are final, and of which version of the funnel; how far back events are gone.
-- squawk-ignore-file require-concurrent-index-creation
alter table public.funnel_analysis
    add column version integer not null default 1 check (version >= 1),
    add column is_final boolean not null default false;
create index funnel_analysis_open_idx on public.funnel_analysis (organization_id, date) where not is_final;
comment on table public.funnel_analysis is
    'Grain: funnel x day of the organisation''s time zone on which runs were entered x step. A run: an actor (the known user, '
    'else the session; or the session) on the day of its entry; visitors: runs that reached the step; conversions: those that '
    'went on to the next. is_final: the day and its window are over. version: of the funnel whose steps were counted.';

alter table private.partition_steps add column dropped_to timestamptz;
comment on column private.partition_steps.dropped_to is
    'End of the youngest partition that was dropped: what came before is gone, and nothing older is computed anew.';

create type private.funnel_step as (
    funnel_no integer, step integer, organization_id uuid, event text, event_type text, page text, properties jsonb,
    scan_from timestamptz, scan_to timestamptz, ahead interval, by_user boolean, shares_events boolean);
comment on type private.funnel_step is 'A step of a funnel that is being counted, with what is asked of its events; page: a LIKE pattern; '
    'ahead: of the first step, by how much local time is ahead of UTC from scan_from to scan_to.';
