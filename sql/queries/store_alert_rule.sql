-- The same name again stores nothing: the caller compares. A new rule opens its first day and today for the sensor.
with stored as (
    insert into public.alert_rules (organization_id, name, channel, metric, grain, kind, threshold, clear_threshold, confirm, minimum_base,
                                    quiet_from, quiet_to, judged_from)
    select o.id, %(name)s, %(channel)s, %(metric)s, %(grain)s, %(kind)s, %(threshold)s, %(clear_threshold)s, %(confirm)s, %(minimum_base)s,
           %(quiet_from)s, %(quiet_to)s,
           coalesce(%(since)s::date::timestamp at time zone o.time_zone, now() - interval '1 day')
    from public.organizations o
    where o.id = %(organization_id)s
    on conflict (organization_id, name) do nothing
    returning *
)
select s.*, private.mark_stale_apart('performance_alerts', array[s.organization_id, s.organization_id], array[
           date_trunc('day', s.judged_from at time zone o.time_zone) at time zone 'UTC',
           date_trunc('day', now() at time zone o.time_zone) at time zone 'UTC']) as marked
from stored s
join public.organizations o on o.id = s.organization_id
