-- The source that pages belong to; made at its first page.
with made as (
    insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)
    values (%(organization_id)s, %(source)s, %(source_name)s, %(time_zone)s, %(currency)s)
    on conflict (organization_id, source_type, source_name) do nothing
    returning id, time_zone, currency
)
select id, time_zone, currency from made
union all
select id, time_zone, currency from public.data_sources
where organization_id = %(organization_id)s and source_type = %(source)s and source_name = %(source_name)s
limit 1
