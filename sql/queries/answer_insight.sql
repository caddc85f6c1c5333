update public.ai_insights i
set is_read = true, is_dismissed = i.is_dismissed or %(dismissed)s
where i.organization_id = %(organization_id)s and i.id = %(id)s
returning i.title, i.is_dismissed
