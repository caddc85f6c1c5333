select o.id, o.slug, o.name, o.time_zone, o.currency, o.partition_key, o.is_active, o.deleting_since,
       (select count(*) from public.data_sources s where s.organization_id = o.id) as sources,
       coalesce(l.hours_done, 0) as hours_done, coalesce(l.days_done, 0) as days_done, coalesce(l.failed, 0) as failed,
       l.first_hour, l.last_hour
from public.organizations o
left join (
    select organization_id,
           count(*) filter (where asset = 'hourly_aggregates' and status = 'done') as hours_done,
           count(*) filter (where asset = 'daily_aggregates' and status = 'done') as days_done,
           count(*) filter (where status = 'failed') as failed,
           min(bucket) filter (where asset = 'hourly_aggregates' and row_count > 0) as first_hour,
           max(bucket) filter (where asset = 'hourly_aggregates' and row_count > 0) as last_hour
    from public.partition_ledger group by organization_id
) l on l.organization_id = o.id
order by o.slug
