-- Whose turn it is to be synced, who is at work on it, and how it went.
--
-- A worker holds a source by a lease, which storing pages prolongs (private.store_source_pages); nobody else syncs it
-- meanwhile. A lease that has run out belonged to a worker that died.

-- Times that lie further ahead than a source is ever put off, its own frequency (up to a month) and a vendor's pause together:
-- written while the server's clock was ahead, which was put right since. (By a year, and nothing was synced for a year.)
create or replace function private.is_too_far(at timestamptz, frequency_minutes integer) returns boolean
language sql stable set search_path = '' as $$
    select at > now() + interval '1 minute' * frequency_minutes + interval '8 days'
$$;

-- Longer than any worker holds a source, or over.
create or replace function private.is_dead_lease(lease_until timestamptz) returns boolean
language sql stable set search_path = '' as $$
    select lease_until < now() or lease_until > now() + private.lease_time() + interval '1 minute'
$$;

-- Sources whose worker died: free again, due at once, and their log closed.
create or replace function private.release_dead_leases() returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    released bigint;
begin
    with dead as (
        select s.organization_id, s.id from public.data_sources s
        where private.is_dead_lease(s.lease_until)
        order by 1, 2
        for update skip locked
    ), freed as (
        update public.data_sources s
        set lease_owner = null, lease_until = null, sync_status = 'failed', failure_kind = 'retry', next_sync_at = now(),
            last_error = 'The worker that synced this source ended before it was done. It is synced again.', updated_at = now()
        from dead d
        where s.organization_id = d.organization_id and s.id = d.id
        returning s.organization_id, s.id
    ), closed as (
        update public.sync_logs l
        set status = 'failed', completed_at = greatest(now(), l.started_at),
            duration_seconds = greatest(0, extract(epoch from now() - l.started_at))::integer,
            error_message = 'The worker ended before it was done; pages that it had stored are kept.'
        from freed f
        where l.organization_id = f.organization_id and l.data_source_id = f.id and l.status = 'started'
          and l.started_at > now() - interval '31 days'
    )
    select count(*) into released from freed;
    update public.data_sources s
    set next_sync_at = case when private.is_too_far(s.next_sync_at, s.sync_frequency_minutes) then now() else s.next_sync_at end,
        reread_due_at = case when private.is_too_far(s.reread_due_at, s.sync_frequency_minutes) then now() else s.reread_due_at end
    where s.lease_owner is null
      and (private.is_too_far(s.next_sync_at, s.sync_frequency_minutes) or private.is_too_far(s.reread_due_at, s.sync_frequency_minutes));
    return released;
end $$;

-- Takes up to most sources and opens their logs. Those longest due come first; of those that failed last time at most
-- struggling_most, so that slow and broken ones never take up all places. forced: also those that are not due, or wait
-- for an operator (by name, from the command line or a backfill).
create or replace function private.claim_sources(
    owner uuid, most integer, struggling_most integer, source_ids uuid[], forced boolean, kind text)
returns table (organization_id uuid, id uuid, organization text, source_type text, source_name text, connection_config jsonb,
               time_zone text, currency text, sync_frequency_minutes integer, history_from date, failures integer, is_reread boolean, sync_type text,
               log_id uuid, started_at timestamptz)
language plpgsql set search_path = '' set timezone = 'UTC' as $$
#variable_conflict use_column
begin
    perform private.ensure_partitions('sync_logs', now(), now() + interval '1 microsecond');
    return query
    -- Locked where they are picked: a second worker picks others, not the same ones in vain.
    with healthy as materialized (
        select s.organization_id, s.id
        from public.data_sources s
        join public.organizations o on o.id = s.organization_id and o.is_active
        where s.is_active and s.is_connected and s.lease_owner is null and s.failures = 0
          and (source_ids is null or s.id = any (source_ids))
          and (forced or (s.failure_kind is null or s.failure_kind in ('retry', 'throttled'))
                         and (s.next_sync_at <= now() or s.reread_due_at <= now()))
        order by s.next_sync_at, s.id
        limit most
        for update of s skip locked
    ), struggling as materialized (
        select s.organization_id, s.id
        from public.data_sources s
        join public.organizations o on o.id = s.organization_id and o.is_active
        where s.is_active and s.is_connected and s.lease_owner is null and s.failures > 0
          and (source_ids is null or s.id = any (source_ids))
          and (forced or (s.failure_kind is null or s.failure_kind in ('retry', 'throttled')) and s.next_sync_at <= now())
        order by s.next_sync_at, s.id
        limit greatest(0, least(struggling_most, most - (select count(*) from healthy)))
        for update of s skip locked
    ), locked as (
        select * from healthy union all select * from struggling
    ), claimed as (
        update public.data_sources s
        set lease_owner = owner, lease_until = now() + private.lease_time(), sync_status = 'running', updated_at = now()
        from locked l
        where s.organization_id = l.organization_id and s.id = l.id
        returning s.*
    ), opened as (
        insert into public.sync_logs (organization_id, started_at, data_source_id, sync_type, status)
        select c.organization_id, now(), c.id,
               coalesce(kind, case when exists (
                   select from public.sync_streams t where t.organization_id = c.organization_id and t.data_source_id = c.id
                     and t.covered_to is not null) then 'incremental' else 'full' end), 'started'
        from claimed c
        returning organization_id, data_source_id, sync_type, id, started_at
    )
    select c.organization_id, c.id, o.slug, c.source_type::text, c.source_name::text, c.connection_config, c.time_zone,
           c.currency, c.sync_frequency_minutes, c.history_from, c.failures, coalesce(c.reread_due_at <= now(), false), l.sync_type::text, l.id, l.started_at
    from claimed c
    join opened l on l.organization_id = c.organization_id and l.data_source_id = c.id
    join public.organizations o on o.id = c.organization_id
    order by c.next_sync_at, c.id;
end $$;

-- A worker's word that it is still at work on what it holds. Returns how many sources that are.
create or replace function private.prolong_leases(owner uuid) returns bigint
language sql set search_path = '' as $$
    with prolonged as (
        update public.data_sources s set lease_until = now() + private.lease_time()
        where s.lease_owner = owner returning 1
    )
    select count(*) from prolonged
$$;

-- Closes syncs: one element of results each. A worker whose lease is gone changes nothing.
-- After a failure that passes: a minute, doubled with each, at most an hour, and never before the vendor's own word.
create or replace function private.finish_syncs(results jsonb) returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    finished bigint;
begin
    with r as materialized (
        select * from jsonb_to_recordset(results) as x (
            organization_id uuid, id uuid, lease_owner uuid, log_id uuid, started_at timestamptz, failure_kind text,
            error text, retry_at timestamptz, is_partial boolean, reread_done boolean, reread_wanted boolean, processed integer, created integer,
            updated integer, failed integer, metadata jsonb, time_zone text, currency text, account_name text, jitter numeric)
    ), locked as (
        select s.organization_id, s.id from public.data_sources s join r on r.organization_id = s.organization_id and r.id = s.id
        order by 1, 2 for update of s
    ), closed as (
        update public.data_sources s
        set lease_owner = null, lease_until = null, updated_at = now(),
            sync_status = case when r.failure_kind is null then 'success' else 'failed' end,
            failure_kind = r.failure_kind, last_error = r.error,
            failures = case when r.failure_kind is null then 0 else least(s.failures + 1, 1000) end,
            last_sync_at = case when r.failure_kind is null and not r.is_partial then r.started_at else s.last_sync_at end,
            reread_at = case when r.reread_done then now() else s.reread_at end,
            reread_due_at = case when r.reread_done then null when r.reread_wanted then now() else s.reread_due_at end,
            time_zone = coalesce(r.time_zone, s.time_zone), currency = coalesce(r.currency, s.currency),
            account_name = coalesce(r.account_name, s.account_name),
            next_sync_at = case
                when r.is_partial and r.failure_kind is null then now()
                when r.failure_kind is null
                    then greatest(now(), r.started_at + make_interval(mins => s.sync_frequency_minutes))
                else greatest(r.retry_at, now() + least(interval '1 minute' * power(2, least(s.failures, 6)), interval '1 hour')
                                                  * (0.75 + 0.5 * r.jitter))
            end
        from r join locked l on l.organization_id = r.organization_id and l.id = r.id
        where s.organization_id = r.organization_id and s.id = r.id and s.lease_owner = r.lease_owner
        returning s.organization_id, s.id
    ), logged as (
        update public.sync_logs g
        set status = case when r.failure_kind is null then 'completed' else 'failed' end,
            completed_at = greatest(clock_timestamp(), g.started_at),
            duration_seconds = greatest(0, extract(epoch from clock_timestamp() - g.started_at))::integer,
            records_processed = r.processed, records_created = r.created, records_updated = r.updated,
            records_failed = r.failed, error_message = r.error, metadata = r.metadata
        from r join closed c on c.organization_id = r.organization_id and c.id = r.id
        where g.organization_id = r.organization_id and g.started_at = r.started_at and g.id = r.log_id
    )
    select count(*) into finished from closed;
    return finished;
end $$;

-- The nightly re-read of what vendors restate: due over the next hour, each source at a moment of its own.
create or replace function private.request_rereads() returns bigint
language sql set search_path = '' set timezone = 'UTC' as $$
    with marked as (
        update public.data_sources s
        set reread_due_at = now() + interval '1 second' * (('x' || left(md5(s.id::text), 6))::bit(24)::integer % 3600)
        where s.is_active and s.is_connected and s.reread_due_at is null
          and (s.reread_at is null or s.reread_at < now() - interval '12 hours' or s.reread_at > now())
          -- A source whose history is just being read needs no second reading of it.
          and s.last_sync_at is not null
        returning 1
    )
    select count(*) from marked
$$;
