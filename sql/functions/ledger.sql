-- The partition ledger: locks, marks, closing of buckets.

-- What turns there are, in the order in which a transaction takes several of them.
create or replace function private.turns() returns text[]
language sql immutable parallel safe set search_path = '' as $$
    select array['raw', 'entities', 'events', 'event_hours', 'event_days', 'hourly', 'daily', 'cohorts', 'funnels', 'alerts', 'insights']
$$;

-- Takes the transaction's turn for these organisations: two computations of one kind over one organisation run one
-- after the other, so that the later one never overwrites with an older reading. 64 slots, taken in order: no deadlock,
-- no limit by the number of organisations. Advisory: nothing is written.
-- Returns those that are there now that the turn has come: one that was deleted while its writer waited is left out, and none
-- can be deleted while a writer has a turn (private.seize_organization). A run that had read its organisations before wrote
-- the ledger of one that was gone, and nothing would ever have deleted these rows.
drop function if exists private.lock_organizations(text, uuid[]);
create or replace function private.lock_organizations(purpose text, organization_ids uuid[]) returns uuid[]
language plpgsql set search_path = '' as $$
declare
    slot integer;
begin
    if purpose <> all (private.turns()) then
        raise exception 'no turn %', purpose using hint = 'Add it to private.turns(): whoever deletes an organisation takes all of them.';
    end if;
    for slot in select distinct hashtext(o::text) & 63 from unnest(organization_ids) o order by 1 loop
        perform pg_advisory_xact_lock(hashtext('analytics.' || purpose), slot);
    end loop;
    return array(select o.id from public.organizations o where o.id = any (organization_ids));
end $$;

-- The same for who writes without a turn: returns those that are there, and none of them can be deleted until the transaction
-- ends. Shared, as a foreign key's lock is. With the owner's rights: the collector sets events aside by it, and reads no organisation.
create or replace function private.hold_organizations(organization_ids uuid[]) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return array(select o.id from public.organizations o where o.id = any (organization_ids) order by o.id for key share);
end $$;

-- Nobody writes rows of this organisation until the transaction ends, and whoever waits for it finds none where the transaction
-- deletes it: takes all its turns and its row. Rows that a writer has not committed are not seen, so it never waits for the row:
-- lock_not_available where somebody holds it (roll back and try again). A writer that holds it may be waiting for a turn.
create or replace function private.seize_organization(organization uuid) returns void
language plpgsql set search_path = '' as $$
declare
    purpose text;
begin
    foreach purpose in array private.turns() loop
        perform private.lock_organizations(purpose, array[organization]);
    end loop;
    perform from public.organizations o where o.id = organization for update nowait;
end $$;

-- Marks buckets whose input changed. Pairs (organization_ids[i], buckets[i]); duplicates are one mark.
-- A bucket that was never computed gets its first row, so that a sensor finds it; one of an organisation that is gone gets none.
-- (It begins with version 2: a run that read before there was a row has read version 1, and closed over the mark as if it had seen it.)
-- For who has a turn of the organisations, or a lock on a row that refers to them; others: private.mark_stale_apart.
create or replace function private.mark_stale(asset_name text, organization_ids uuid[], buckets timestamptz[])
returns bigint
language plpgsql set search_path = '' as $$
declare
    marked bigint;
begin
    if coalesce(cardinality(organization_ids), 0) = 0 then
        return 0;
    end if;
    perform private.ensure_partitions('partition_ledger', m.month, m.month + interval '1 microsecond')
    from (select distinct date_trunc('month', b, 'UTC') as month from unnest(buckets) b order by 1) m;
    insert into public.partition_ledger as l (organization_id, asset, bucket, status, input_version, next_attempt_at)
    select distinct k.organization_id, asset_name, k.bucket, 'stale', 2, now()
    from unnest(organization_ids, buckets) as k (organization_id, bucket)
    join public.organizations o on o.id = k.organization_id
    order by 1, 3
    on conflict (organization_id, asset, bucket) do update
    set input_version = l.input_version + 1, status = 'stale', error = null, attempts = 0, next_attempt_at = now();
    get diagnostics marked = row_count;
    return marked;
end $$;

create or replace function private.mark_stale_apart(asset_name text, organization_ids uuid[], buckets timestamptz[])
returns bigint
language plpgsql set search_path = '' as $$
begin
    perform private.hold_organizations(array(select distinct o from unnest(organization_ids) o));
    return private.mark_stale(asset_name, organization_ids, buckets);
end $$;

-- The buckets of a run that have to be closed in the ledger: never computed, changed since, failed or waiting.
-- Those that are done at their version are left out: closing them again would write without need.
-- (No nested loop: see private.blocked_days.)
create or replace function private.open_buckets(
    asset_name text, organization_ids uuid[], from_time timestamptz, to_time timestamptz, step interval)
returns table (organization_id uuid, bucket timestamptz, input_version integer)
language sql stable set search_path = '' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
    select o.organization_id, b.bucket, coalesce(l.input_version, 1)
    from unnest(organization_ids) as o (organization_id)
    cross join generate_series(from_time, to_time - interval '1 microsecond', step) as b (bucket)
    left join public.partition_ledger l
        on l.organization_id = o.organization_id and l.asset = asset_name and l.bucket = b.bucket
       and l.bucket >= from_time and l.bucket < to_time
    where l.status is distinct from 'done' or l.computed_version is distinct from l.input_version
$$;

-- What the sensor requests: open buckets whose turn has come, oldest first, and their next turn put off
-- (5 minutes, doubled with each attempt, at most 6 hours), so that one that fails does not come at every tick. A turn further off
-- was put off by a server whose clock was ahead, and has come.
-- Only of keys that Dagster has: one claimed a moment before its key was added waited five minutes for nothing.
create or replace function private.claim_open_buckets(
    asset_names text[], partition_keys text[], from_time timestamptz, to_time timestamptz, most integer)
returns table (asset text, organization_id uuid, partition_key text, bucket timestamptz, status text)
language sql set search_path = '' as $$
    with due as (
        select l.organization_id, l.asset, l.bucket, o.partition_key
        from public.partition_ledger l
        join public.organizations o
            on o.id = l.organization_id and o.is_active and o.partition_key = any (partition_keys)
        where l.status <> 'done' and (l.next_attempt_at <= now() or l.next_attempt_at > now() + interval '7 hours') and l.asset = any (asset_names)
          and l.bucket >= from_time and l.bucket < to_time
        order by l.next_attempt_at, l.bucket
        limit most
        for update of l skip locked
    )
    update public.partition_ledger l
    set attempts = least(l.attempts + 1, 100),
        next_attempt_at = now() + least(interval '5 minutes' * power(2, least(l.attempts, 7)), interval '6 hours')
    from due
    where l.organization_id = due.organization_id and l.asset = due.asset and l.bucket = due.bucket
    returning l.asset, l.organization_id, due.partition_key, l.bucket, l.status
$$;

-- Hours of active organisations that no tick has computed (the daemon was down, the organisation is new), from the
-- later of from_time and the organisation's first hour on: they become stale, so that a sensor requests them.
create or replace function private.mark_missing_hours(asset_names text[], from_time timestamptz, to_time timestamptz)
returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
declare
    marked bigint;
begin
    perform private.ensure_partitions('partition_ledger', from_time, to_time);
    with missing as materialized (
        select o.id, a.asset, h.bucket
        from public.organizations o
        cross join unnest(asset_names) as a (asset)
        cross join generate_series(date_trunc('hour', from_time), to_time - interval '1 microsecond', interval '1 hour') as h (bucket)
        left join public.partition_ledger l
            on l.organization_id = o.id and l.asset = a.asset and l.bucket = h.bucket
           and l.bucket >= from_time and l.bucket < to_time
        where o.is_active and h.bucket >= date_trunc('hour', o.created_at) and l.organization_id is null
    )
    insert into public.partition_ledger (organization_id, asset, bucket, status, next_attempt_at)
    select m.id, m.asset, m.bucket, 'stale', now()
    from missing m
    join unnest(private.hold_organizations(array(select distinct n.id from missing n))) as h (id) on h.id = m.id
    order by m.id, m.asset, m.bucket
    on conflict do nothing;
    get diagnostics marked = row_count;
    return marked;
end $$;
