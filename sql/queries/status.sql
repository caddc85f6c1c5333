-- Active organisations x sources with what is open of each organisation in the ledger; the latest first.
-- An organisation without sources has one row, of empty source columns. late: only where a source is late, or something failed.
with ledger as materialized (
    select l.organization_id,
           coalesce(sum(l.stale) filter (where not l.asset = any (%(day_assets)s)), 0)::bigint as hours_stale,
           coalesce(sum(l.failed) filter (where not l.asset = any (%(day_assets)s)), 0)::bigint as hours_failed,
           coalesce(sum(l.waiting) filter (where not l.asset = any (%(day_assets)s)), 0)::bigint as hours_waiting,
           coalesce(sum(l.stale) filter (where l.asset = any (%(day_assets)s)), 0)::bigint as days_stale,
           coalesce(sum(l.failed) filter (where l.asset = any (%(day_assets)s)), 0)::bigint as days_failed,
           coalesce(sum(l.waiting) filter (where l.asset = any (%(day_assets)s)), 0)::bigint as days_waiting,
           (array_agg(l.asset || ': ' || l.first_error order by l.oldest) filter (where l.first_error is not null))[1] as first_error
    from public.ledger_status l
    group by l.organization_id
)
select o.slug as organization, s.source_type, s.source_name, s.status, s.sync_frequency_minutes, s.last_success_at,
       coalesce(s.is_late, false) as is_late, s.late_by, s.failures, s.failure_kind, s.last_error, s.next_try_at, s.what_to_do,
       coalesce(l.hours_stale, 0) as hours_stale, coalesce(l.hours_failed, 0) as hours_failed,
       coalesce(l.hours_waiting, 0) as hours_waiting, coalesce(l.days_stale, 0) as days_stale,
       coalesce(l.days_failed, 0) as days_failed, coalesce(l.days_waiting, 0) as days_waiting, l.first_error
from public.organizations o
left join public.source_status s on s.organization_id = o.id
left join ledger l on l.organization_id = o.id
where o.is_active and (%(organization)s::text is null or o.slug = %(organization)s)
  and (not %(late)s or s.is_late or l.hours_failed + l.days_failed > 0)
order by coalesce(s.is_late, false) desc, s.late_by desc nulls last, s.failures desc nulls last, o.slug, s.source_type, s.source_name
limit %(most)s
