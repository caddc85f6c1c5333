select e.id as erasure from public.erasures e where e.organization_id = %(organization_id)s and e.finished_at is null
