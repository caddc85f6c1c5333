-- Of events %(after)s to %(to)s of Dagster's log: those past their time that a newer one has superseded, and what belongs to no
-- asset. The newest event of each kind of every partition stays: a partition keeps its state, its run, and its metadata.
-- A planned event is what a partition without a result is known by, until there is a newer plan or result.
with gone as (
    delete from event_logs e
    where e.id > %(after)s and e.id <= %(to)s
      and e."timestamp" < (now() at time zone 'UTC') - %(keep_days)s * interval '1 day'
      and not exists (select from runs r where r.run_id = e.run_id and r.status not in ('SUCCESS', 'FAILURE', 'CANCELED'))
      and case when e.asset_key is null then true
          when e.partition is null then exists (
              select from event_logs n
              where n.asset_key = e.asset_key and n.partition is null and n.id > e.id
                and n.dagster_event_type in (e.dagster_event_type, case e.dagster_event_type
                    when 'ASSET_MATERIALIZATION_PLANNED' then 'ASSET_MATERIALIZATION'
                    when 'ASSET_FAILED_TO_MATERIALIZE' then 'ASSET_MATERIALIZATION' end))
          else exists (
              select from event_logs n
              where n.asset_key = e.asset_key and n.partition = e.partition and n.id > e.id
                and n.dagster_event_type in (e.dagster_event_type, case e.dagster_event_type
                    when 'ASSET_MATERIALIZATION_PLANNED' then 'ASSET_MATERIALIZATION'
                    when 'ASSET_FAILED_TO_MATERIALIZE' then 'ASSET_MATERIALIZATION' end)) end
    returning e.id
), tags as (
    delete from asset_event_tags t using gone g where t.event_id = g.id
)
select count(*) as deleted from gone
