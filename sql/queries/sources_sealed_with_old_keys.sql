-- The next ones after a row, locked; those that are just being written are passed over.
select s.organization_id, s.id, s.connection_config -> '$secrets' as sealed
from public.data_sources s
where s.is_connected and s.connection_config #>> '{$secrets,kid}' is distinct from %(key_id)s
  and (s.organization_id, s.id) > (%(after_organization)s::uuid, %(after_id)s::uuid)
order by s.organization_id, s.id
limit %(batch)s
for no key update skip locked
