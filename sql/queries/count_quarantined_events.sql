-- How much of an organisation's rejected events waits for an operator.
select count(*) as events, coalesce(sum(octet_length(q.content)), 0)::bigint as bytes
from public.quarantine q
where q.organization_id = %(organization_id)s and q.level = 'event' and q.resolution is null
