-- Connected sources and those from files, by any of organisation, type and name.
select o.slug as organization, s.organization_id, s.id, s.source_type, s.source_name, s.connection_config, s.time_zone, s.currency,
       s.is_active, s.is_connected, s.last_sync_at, s.failure_kind, s.account_name
from public.data_sources s
join public.organizations o on o.id = s.organization_id
where (%(organization)s::text is null or o.slug = %(organization)s)
  and (%(source_type)s::text is null or s.source_type = %(source_type)s)
  and (%(name)s::text is null or s.source_name = %(name)s)
order by o.slug, s.source_type, s.source_name
