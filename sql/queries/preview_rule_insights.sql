-- Insights by rules that began, or were seen, from start to end, the gravest first.
select o.slug as organization, i.severity, i.confidence_score as confidence, i.title, i.starts_at, i.insight_key, i.data_points
from public.ai_insights i
join public.organizations o on o.id = i.organization_id
where i.organization_id = any (%(ids)s) and i.insight_type <> 'anomaly' and i.withdrawn_at is null
  and i.starts_at < %(end)s::timestamptz + interval '2 days' and coalesce(i.closed_at, 'infinity') >= %(start)s::timestamptz
order by private.severity_rank(i.severity) desc, i.confidence_score desc, i.starts_at desc, i.id
limit %(most)s
