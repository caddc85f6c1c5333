-- Insights that come of incidents: when each began, what it spans, whether it was taken back or dismissed.
-- squawk-ignore-file require-concurrent-index-creation, constraint-missing-not-valid
alter table public.ai_insights
    add column starts_at timestamptz,
    add column period_start timestamptz,
    add column period_end timestamptz,
    add column withdrawn_at timestamptz,
    add column is_dismissed boolean not null default false,
    add column dismissed_at timestamptz,
    add constraint ai_insights_period_end_after_start check (period_end > period_start),
    add constraint ai_insights_withdrawn_at_when_closed check (withdrawn_at is null or closed_at is not null),
    add constraint ai_insights_is_dismissed_when check (is_dismissed = (dismissed_at is not null));
create unique index ai_insights_incident_key on public.ai_insights (organization_id, insight_key, starts_at)
    where starts_at is not null;
comment on column public.ai_insights.starts_at is
    'The hour at which the incident was an alarm for the first time: with organisation and insight_key its natural key.';
comment on column public.ai_insights.period_end is
    'What the text speaks of: period_start <= t < period_end; data_points.actual is the sum of the metric''s hours in it.';
comment on column public.ai_insights.withdrawn_at is
    'Data that came late or was restated has taken the ground from under the insight.';
comment on column public.ai_insights.is_dismissed is
    'Of no use to the organisation: what is like it has to depart further to be said.';
