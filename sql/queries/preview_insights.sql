-- Insights whose incident began from start to end, the gravest first.
select o.slug as organization, i.severity, i.confidence_score as confidence, i.title, i.data_points ->> 'channel' as channel,
       i.data_points ->> 'metric' as metric, i.starts_at, i.period_start, i.period_end, i.organization_id
from public.ai_insights i
join public.organizations o on o.id = i.organization_id
where i.organization_id = any (%(ids)s) and i.insight_type = 'anomaly' and i.withdrawn_at is null
  and i.starts_at >= %(start)s and i.starts_at < %(end)s
order by private.severity_rank(i.severity) desc, i.confidence_score desc, i.starts_at desc, i.id
limit %(most)s
