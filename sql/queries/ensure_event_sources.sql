-- The source that an organisation's tracked events belong to; made at its first key, or its first event.
insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)
select o.id, 'events', 'events', o.time_zone, o.currency
from public.organizations o
where o.id = any (%(organization_ids)s)
  and not exists (select from public.data_sources s where s.organization_id = o.id and s.source_type = 'events')
on conflict do nothing
