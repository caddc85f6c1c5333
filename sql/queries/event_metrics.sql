-- What the hours say of an organisation's tracked events.
select metric, "timestamp" as at, value
from public.hourly_aggregates
where organization_id = %(organization_id)s and channel = 'events'
