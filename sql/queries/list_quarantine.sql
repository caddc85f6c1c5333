select q.id, o.slug as organization, q.source, q.stream, q.level, q.reason, q.quarantined_at, q.resolution,
       case q.level when 'page' then q.file_name || ':' || q.line_number else q.record_key end as place
from public.quarantine q
join public.organizations o on o.id = q.organization_id
where (%(slug)s::text is null or o.slug = %(slug)s) and (%(all)s or q.resolution is null)
order by q.quarantined_at desc, q.id
limit 200
