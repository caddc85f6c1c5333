-- Cohorts and funnels that look at these days of these organisations (pairs) become stale: a funnel's run may have begun as
-- long before as the organisation's longest window.
create or replace function private.mark_event_dependents(organization_ids uuid[], dates date[]) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    perform private.mark_stale('cohort_analysis', array_agg(k.organization_id order by k.organization_id, k.date),
                               array_agg(k.date::timestamp at time zone 'UTC' order by k.organization_id, k.date))
    from (select distinct u.organization_id, u.date from unnest(organization_ids, dates) u (organization_id, date)) k
    having count(*) > 0;
    perform private.mark_stale('funnel_analysis', array_agg(k.organization_id order by k.organization_id, k.bucket),
                               array_agg(k.bucket order by k.organization_id, k.bucket))
    from (
        select distinct u.organization_id, d.bucket
        from unnest(organization_ids, dates) u (organization_id, date)
        join (
            select f.organization_id, max(f.window_seconds) as seconds
            from public.funnels f
            where f.is_active and f.organization_id = any (organization_ids)
            group by 1
        ) w on w.organization_id = u.organization_id
        -- To the second, not to whole days: a window that begins within a day reaches back into one more.
        cross join lateral generate_series(
            date_trunc('day', u.date::timestamp - make_interval(secs => w.seconds)), u.date::timestamp, interval '1 day') as g (day)
        cross join lateral (select g.day at time zone 'UTC' as bucket) d
    ) k
    having count(*) > 0;
end $$;
