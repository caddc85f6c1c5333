-- What is late, for dashboards and `analytics status`. Restrict organization_id. Times are UTC.

-- Grain: organisation x source that is to be up to date by itself: live sources, and the organisation's tracked events.
-- last_success_at: begin of the last complete sync; of tracked events, when the newest event happened.
-- is_late: more than two of its own periods (sync_frequency_minutes) since then, or since it was added; tracked events have no
-- period of their own (a site may have no visitors at night): they are late after a day of silence, once there has been one.
-- late_by: how long beyond that. next_try_at: null where nothing is tried by itself. what_to_do: '' nothing; wait: it is tried
-- again by itself; authorize, test: `analytics sources ...`; ui: syncing stands still (`analytics ui`); keys: `analytics keys list`.
create or replace view public.source_status with (security_invoker = true) as
select f.organization_id, f.data_source_id, f.source_type, f.source_name, f.status, f.sync_frequency_minutes, f.last_success_at,
       coalesce(f.late_by > interval '0', false) as is_late, greatest(coalesce(f.late_by, interval '0'), interval '0') as late_by,
       f.failures, f.failure_kind, f.last_error, f.next_try_at,
       case when f.status = 'paused' then ''
            when f.failure_kind = 'reauthorize' then 'authorize'
            when f.status = 'stopped' then 'test'
            when f.status = 'retrying' or f.status = 'running' and f.failures > 0 then 'wait'
            when f.late_by <= interval '0' or f.late_by is null then ''
            when f.source_type = 'events' then 'keys'
            when f.status = 'running' then 'wait'
            else 'ui' end as what_to_do
from (
    select s.organization_id, s.id as data_source_id, s.source_type, s.source_name, s.sync_frequency_minutes, s.failures,
           s.failure_kind, s.last_error, s.last_sync_at as last_success_at,
           case when not s.is_active then 'paused'
                when s.failure_kind not in ('retry', 'throttled') then 'stopped'
                when s.sync_status = 'running' then 'running'
                when s.failure_kind is not null then 'retrying'
                when s.last_sync_at is null then 'new'
                else 'ok' end as status,
           case when s.is_active then now() - coalesce(s.last_sync_at, s.created_at) - make_interval(mins => 2 * s.sync_frequency_minutes)
           end as late_by,
           case when s.is_active and (s.failure_kind is null or s.failure_kind in ('retry', 'throttled')) then s.next_sync_at
           end as next_try_at
    from public.data_sources s
    where s.is_connected
    union all
    select s.organization_id, s.id, s.source_type, s.source_name, s.sync_frequency_minutes, 0, null, null, e.last_at,
           case when not s.is_active then 'paused' when e.last_at is null then 'new' else 'ok' end,
           case when s.is_active then now() - e.last_at - interval '24 hours' end, null
    from public.data_sources s
    left join lateral (
        select t."timestamp" as last_at from public.event_tracking t
        where t.organization_id = s.organization_id and t."timestamp" <= now()
        order by t."timestamp" desc limit 1
    ) e on true
    where s.source_type = 'events' and not s.is_connected
) f;

-- Grain: organisation x asset that has buckets (hours, or days of a daily asset) not done; one that is not here has none.
create or replace view public.ledger_status with (security_invoker = true) as
select l.organization_id, l.asset, count(*) filter (where l.status = 'stale') as stale,
       count(*) filter (where l.status = 'failed') as failed, count(*) filter (where l.status = 'waiting') as waiting,
       min(l.bucket) as oldest, min(l.next_attempt_at) as next_try_at,
       (array_agg(l.error order by l.bucket) filter (where l.status = 'failed'))[1] as first_error
from public.partition_ledger l
where l.status <> 'done'
group by l.organization_id, l.asset;
