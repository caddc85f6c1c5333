-- Of events %(after)s to %(to)s of Dagster's log: those past their time. What a newer one of its partition has superseded goes after
-- %(superseded_days)s days, results without partitions and logs of runs that succeeded after %(log_days)s, other logs after
-- %(keep_days)s. The newest event of each kind of every partition stays: a partition keeps its state, its run, and its metadata.
-- A planned event is what a partition without a result is known by, until there is a newer plan or result.
--
-- Tags of results, copies of what stands in the events, go after %(superseded_days)s days: Dagster reads them of what a run has just
-- made. (Three rows a result, they took a quarter of all room.)
with old as materialized (
    select e.id, e.asset_key, e.partition, e.dagster_event_type, e."timestamp", r.status
    from event_logs e
    left join runs r on r.run_id = e.run_id
    where e.id > %(after)s and e.id <= %(to)s
      and e."timestamp" < (%(now)s::timestamptz at time zone 'UTC') - %(superseded_days)s * interval '1 day'
      and (r.status is null or r.status in ('SUCCESS', 'FAILURE', 'CANCELED'))
), gone as (
    delete from event_logs e
    using old o
    where e.id = o.id
      and case
          when o.asset_key is null then o."timestamp" < (%(now)s::timestamptz at time zone 'UTC')
              - case o.status when 'SUCCESS' then %(log_days)s else %(keep_days)s end * interval '1 day'
          when o.partition is null then o."timestamp" < (%(now)s::timestamptz at time zone 'UTC') - %(log_days)s * interval '1 day'
              and exists (
                  select from event_logs n
                  where n.asset_key = o.asset_key and n.partition is null and n.id > o.id
                    and n.dagster_event_type in (o.dagster_event_type, case o.dagster_event_type
                        when 'ASSET_MATERIALIZATION_PLANNED' then 'ASSET_MATERIALIZATION'
                        when 'ASSET_FAILED_TO_MATERIALIZE' then 'ASSET_MATERIALIZATION' end))
          else exists (
              select from event_logs n
              where n.asset_key = o.asset_key and n.partition = o.partition and n.id > o.id
                and n.dagster_event_type in (o.dagster_event_type, case o.dagster_event_type
                    when 'ASSET_MATERIALIZATION_PLANNED' then 'ASSET_MATERIALIZATION'
                    when 'ASSET_FAILED_TO_MATERIALIZE' then 'ASSET_MATERIALIZATION' end)) end
    returning e.id
), tags as (
    delete from asset_event_tags t using old o where t.event_id = o.id
)
select count(*) as deleted from gone
