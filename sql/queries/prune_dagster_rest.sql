-- Ticks but the newest of each schedule and sensor, executions of checks but the newest of each, and runs of which no event is left.
with ticks as (
    delete from job_ticks t
    where t."timestamp" < (%(now)s::timestamptz at time zone 'UTC') - %(keep_days)s * interval '1 day'
      and exists (select from job_ticks n where n.selector_id = t.selector_id and n.id > t.id)
    returning 1
), checks as (
    delete from asset_check_executions c
    where c.create_timestamp < (%(now)s::timestamptz at time zone 'UTC') - %(log_days)s * interval '1 day'
      and exists (
          select from asset_check_executions n
          where n.asset_key = c.asset_key and n.check_name = c.check_name and n.partition is not distinct from c.partition and n.id > c.id)
    returning 1
), ended as (
    delete from runs r
    where r.status in ('SUCCESS', 'FAILURE', 'CANCELED')
      and r.update_timestamp < (%(now)s::timestamptz at time zone 'UTC')
          - case r.status when 'SUCCESS' then %(log_days)s else %(keep_days)s end * interval '1 day'
      and not exists (select from event_logs e where e.run_id = r.run_id)
    returning 1
)
select 'job_ticks' as "table", (select count(*) from ticks) as deleted
union all select 'asset_check_executions', (select count(*) from checks)
union all select 'runs', (select count(*) from ended)
