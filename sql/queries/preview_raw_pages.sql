select o.slug as organization, p.stream, count(*) as pages, sum(jsonb_array_length(
           case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else '[0]' end)) as records,
       to_char(min(p.window_start), 'YYYY-MM-DD HH24:MI') || ' to ' || to_char(max(p.window_end), 'YYYY-MM-DD HH24:MI') as "window"
from public.raw_data_backup p
join public.organizations o on o.id = p.organization_id
where p.organization_id = any (%(ids)s) and p.source = %(source)s
  and p.window_start <= %(end)s::timestamptz + interval '1 hour' and p.window_end >= %(start)s
group by o.slug, p.stream
order by o.slug, p.stream
limit 20
