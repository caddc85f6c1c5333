select o.slug as organization, f.funnel_name, f.version, f.unit, f.window_seconds, f.steps, a.days, a.first_day, a.last_day,
       a.entries, a.completed, l.open_days
from public.funnels f
join public.organizations o on o.id = f.organization_id
left join lateral (
    select count(*) filter (where r.step_order = 1) as days, min(r.date) as first_day, max(r.date) as last_day,
           sum(r.visitors) filter (where r.step_order = 1) as entries,
           sum(r.visitors) filter (where r.step_order = jsonb_array_length(f.steps)) as completed
    from public.funnel_analysis r
    where r.organization_id = f.organization_id and r.funnel_name = f.funnel_name and r.version = f.version
) a on true
left join lateral (
    select count(*) as open_days from public.partition_ledger p
    where p.organization_id = f.organization_id and p.asset = 'funnel_analysis' and p.status <> 'done'
) l on true
where f.is_active and (%(slug)s::text is null or o.slug = %(slug)s)
order by o.slug, f.funnel_name
