select a.facet, a.value, a.visitors, a.sessions, a.events
from public.live_activity a
where a.organization_id = %(organization_id)s
order by a.facet, case when a.facet = 'minute' then a.value end, a.visitors desc, a.value
