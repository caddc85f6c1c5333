-- Insights of an organisation, the gravest first; unless everything is asked for, those that hold and are neither read,
-- dismissed, over for more than two days nor expired.
select i.id, i.severity, i.confidence_score, i.title, i.description, i.recommendations, i.starts_at, i.period_start, i.period_end,
       i.is_read, i.is_dismissed, i.data_points,
       case when i.withdrawn_at is not null then 'withdrawn' when i.is_dismissed then 'dismissed'
            when i.closed_at is not null then 'over' when i.expires_at < now() then 'expired' else 'open' end as state
from public.ai_insights i
where i.organization_id = %(organization_id)s
  and (%(everything)s or i.withdrawn_at is null and not i.is_read and not i.is_dismissed
       and coalesce(i.closed_at > now() - interval '2 days', true) and coalesce(i.expires_at > now(), true))
order by private.severity_rank(i.severity) desc, coalesce(i.starts_at, i.created_at) desc, i.id
limit %(most)s
