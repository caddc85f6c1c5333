-- Insights of an organisation whose id begins with what was typed.
select i.id from public.ai_insights i
where i.organization_id = %(organization_id)s and starts_with(i.id::text, lower(%(prefix)s))
order by i.id
limit 2
