-- An organisation's distinct visitors by day, as daily_aggregates has them.
select metric, date as at, value
from public.daily_aggregates
where organization_id = %(organization_id)s and channel = 'events' and metric = 'users_active'
