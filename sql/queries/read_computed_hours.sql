-- The same as read_insight_organizations, of organisations whatever they have open.
select g.id as organization_id, g.slug, g.currency, g.time_zone, '' as state, null::jsonb as dismissed,
       (select string_agg(int4send((extract(epoch from l.bucket - %(history_from)s::timestamptz) / 3600)::integer), '' order by l.bucket)
        from public.partition_ledger l
        where l.organization_id = g.id and l.asset = 'hourly_aggregates' and l.computed_version is not null
          and l.bucket >= %(history_from)s and l.bucket < %(until)s) as hours
from public.organizations g
where g.id = any (%(ids)s)
