-- Of records by the hours of their page's window; a broken page has none, and stands where it was set aside.
select o.slug as organization, coalesce(q.window_start, q.quarantined_at) as at,
       format('%%s %%s: %%s: `analytics quarantine list --organization %%s` shows it', q.stream,
              case q.level when 'page' then coalesce('line ' || q.line_number || ' of ' || q.file_name, 'page')
                   else coalesce(q.record_key, 'a record') || coalesce(', field ' || q.field, '') end,
              left(q.reason, 300), o.slug) as problem,
       count(*) over () as found
from public.quarantine q
join public.organizations o on o.id = q.organization_id
where q.source = %(source)s and q.resolution is null and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and coalesce(q.window_end, q.quarantined_at) >= %(start)s and coalesce(q.window_start, q.quarantined_at) < %(end)s
order by 2, 1
limit %(most)s
