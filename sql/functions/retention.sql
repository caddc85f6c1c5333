-- Retention by row: for organisations that keep a layer for less time than the deployment, and for what has no partitions.
--
-- One call deletes what one transaction should, and is called until it finds nothing. Nothing is deleted that a later layer has
-- not taken in: raw pages when they are processed, hours when their day is rolled up, events when their hours are summed up and
-- their days rolled up and analysed; days after their hours. Days are whole days of the organisation's time zone.

-- Sets (or with null ends) how long an organisation keeps a layer.
create or replace function private.set_retention(organization uuid, layer_name text, days integer) returns void
language plpgsql set search_path = '' as $$
begin
    insert into public.organization_retention as r (organization_id, layer, keep_days)
    select organization, layer_name, days where days is not null
    on conflict (organization_id, layer) do update set keep_days = excluded.keep_days, updated_at = now();
    if days is null then
        -- What is gone stays known as gone.
        delete from public.organization_retention r
        where r.organization_id = organization and r.layer = layer_name and r.removed_to is null;
        update public.organization_retention r set keep_days = 36500, updated_at = now()
        where r.organization_id = organization and r.layer = layer_name;
    end if;
end $$;

-- The first local day that an organisation keeps of a layer, and the instant at which it begins.
create or replace function private.kept_layers(layer_name text)
returns table (organization_id uuid, time_zone text, first_date date, first_at timestamptz)
language sql stable set search_path = '' as $$
    select o.id, o.time_zone, d.first_date, d.first_date::timestamp at time zone o.time_zone
    from public.organization_retention r
    join public.organizations o on o.id = r.organization_id
    cross join lateral (select (now() at time zone o.time_zone)::date - r.keep_days as first_date) d
    where r.layer = layer_name
$$;

-- Deletes at most so many pieces (days of an organisation, or rows) of a layer; default_days: how long logs and quarantine are
-- kept where an organisation says nothing. Returns what each organisation lost.
create or replace function private.delete_past_retention(layer_name text, default_days integer, most integer)
returns table (organization_id uuid, deleted bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
begin
    if layer_name = 'raw' then
        return query
        with old as materialized (
            select p.organization_id, p.source, p.stream, p.fetched_at, p.id
            from private.kept_layers('raw') k
            join public.raw_data_backup p on p.organization_id = k.organization_id and p.fetched_at < k.first_at and p.processed
            limit most
        ), gone as (
            delete from public.raw_data_backup p using old o
            where p.organization_id = o.organization_id and p.source = o.source and p.stream = o.stream
              and p.fetched_at = o.fetched_at and p.id = o.id and p.processed
            returning p.organization_id, p.data_source_id, p.stream, p.content_sha256
        ), digests as (
            delete from public.raw_page_digests d using gone g
            where d.organization_id = g.organization_id and d.data_source_id = g.data_source_id and d.stream = g.stream
              and d.content_sha256 = g.content_sha256
        ), reports as (
            delete from public.raw_report_digests d using private.kept_layers('raw') k
            where d.organization_id = k.organization_id and d.fetched_at < k.first_at
        )
        select g.organization_id, count(*) from gone g group by 1;
    elsif layer_name = 'hourly' then
        return query select * from private.delete_old_hours(most);
    elsif layer_name = 'daily' then
        return query
        with old as materialized (
            select f.organization_id, f.metric_id, f.channel_id, f.date
            from private.kept_layers('daily') k
            join public.daily_facts f on f.organization_id = k.organization_id and f.date < k.first_date
            where not exists (
                select from public.partition_ledger l
                where l.organization_id = f.organization_id and l.asset = 'hourly_aggregates'
                  and l.bucket >= f.date::timestamp at time zone k.time_zone - interval '30 minutes'
                  and l.bucket < (f.date + 1)::timestamp at time zone k.time_zone)
            limit most
        ), reports as (
            delete from public.daily_observations d using private.kept_layers('daily') k
            where d.organization_id = k.organization_id and d.date < k.first_date
              and not exists (select from old)
        ), gone as (
            delete from public.daily_facts f using old o
            where f.organization_id = o.organization_id and f.metric_id = o.metric_id and f.channel_id = o.channel_id
              and f.date = o.date
            returning f.organization_id
        )
        select g.organization_id, count(*) from gone g group by 1;
    elsif layer_name = 'events' then
        return query select * from private.delete_old_events(most);
    elsif layer_name = 'logs' then
        return query
        with old as materialized (
            select l.organization_id, l.started_at, l.id
            from public.sync_logs l
            left join public.organization_retention r on r.organization_id = l.organization_id and r.layer = 'logs'
            where l.started_at < now() - least(r.keep_days, default_days) * interval '1 day'
            limit most
        ), gone as (
            delete from public.sync_logs l using old o
            where l.organization_id = o.organization_id and l.started_at = o.started_at and l.id = o.id
            returning l.organization_id
        )
        select g.organization_id, count(*) from gone g group by 1;
    elsif layer_name = 'quarantine' then
        -- What is open stays: its hours are failed until somebody decides.
        return query
        with old as materialized (
            select q.organization_id, q.id
            from public.quarantine q
            left join public.organization_retention r on r.organization_id = q.organization_id and r.layer = 'quarantine'
            where q.resolved_at < now() - least(r.keep_days, default_days) * interval '1 day'
            limit most
        ), gone as (
            delete from public.quarantine q using old o where q.organization_id = o.organization_id and q.id = o.id
            returning q.organization_id
        )
        select g.organization_id, count(*) from gone g group by 1;
    else
        raise exception 'no layer %', layer_name using hint = 'raw, hourly, daily, events, logs or quarantine';
    end if;
end $$;

-- Days of an organisation whose buckets of an asset are all done and older than it keeps them, at most so many, the oldest first.
-- A day counts when daily_aggregates is done with it.
create or replace function private.days_past_retention(layer_name text, asset_name text, most integer)
returns table (organization_id uuid, date date, day_start timestamptz, day_end timestamptz)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select d.organization_id, d.date, d.day_start, d.day_end
    from (
        select x.organization_id, x.date, x.first_at, bool_and(x.is_done) as is_done,
               x.date::timestamp at time zone x.time_zone as day_start, (x.date + 1)::timestamp at time zone x.time_zone as day_end
        from (
            select k.organization_id, k.time_zone, k.first_at, l.status = 'done' as is_done,
                   -- The local hour of a half-hour zone begins within its bucket.
                   ((l.bucket + interval '59 minutes') at time zone k.time_zone)::date as date
            from private.kept_layers(layer_name) k
            join public.partition_ledger l
                on l.organization_id = k.organization_id and l.asset = asset_name and l.bucket < k.first_at
        ) x
        group by x.organization_id, x.date, x.time_zone, x.first_at
    ) d
    join public.partition_ledger l
        on l.organization_id = d.organization_id and l.asset = 'daily_aggregates' and l.bucket = d.date::timestamp at time zone 'UTC'
       and l.status = 'done'
    where d.is_done and d.day_end <= d.first_at
    order by d.date, d.organization_id
    limit most
$$;

-- From these instants on what came before is gone of these organisations, and not merely empty.
create or replace function private.note_removed(layer_name text, organization_ids uuid[], day_ends timestamptz[]) returns void
language sql set search_path = '' as $$
    update public.organization_retention r set removed_to = greatest(r.removed_to, d.removed_to)
    from (select u.id, max(u.day_end) as removed_to from unnest(organization_ids, day_ends) u (id, day_end) group by 1) d
    where r.organization_id = d.id and r.layer = layer_name
$$;

create or replace function private.delete_old_hours(most integer) returns table (organization_id uuid, deleted bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
#variable_conflict use_column
declare
    ids uuid[]; starts timestamptz[]; ends timestamptz[];
begin
    perform private.lock_organizations('hourly', array(select k.organization_id from private.kept_layers('hourly') k));
    perform private.lock_organizations('daily', array(select k.organization_id from private.kept_layers('hourly') k));
    select array_agg(d.organization_id), array_agg(d.day_start), array_agg(d.day_end) into ids, starts, ends
    from private.days_past_retention('hourly', 'hourly_aggregates', most) d;
    perform private.note_removed('hourly', ids, ends);
    return query
    with days as materialized (
        select * from unnest(ids, starts, ends) d (organization_id, day_start, day_end)
    ), observed as (
        delete from public.metric_observations m using days d
        where m.organization_id = d.organization_id and m.bucket_at >= d.day_start and m.bucket_at < d.day_end
    ), marks as (
        -- Without these marks a later run of the day would take missing hours for empty ones.
        delete from public.partition_ledger l using days d
        where l.organization_id = d.organization_id and l.asset = 'hourly_aggregates'
          and l.bucket >= date_trunc('hour', d.day_start) and l.bucket < date_trunc('hour', d.day_end)
        returning l.organization_id
    ), gone as (
        delete from public.hourly_facts f using days d
        where f.organization_id = d.organization_id and f."timestamp" >= d.day_start and f."timestamp" < d.day_end
        returning f.organization_id
    )
    select g.organization_id, sum(g.n)::bigint
    from (select m.organization_id, 0 as n from marks m union all select f.organization_id, 1 from gone f) g
    group by 1;
end $$;

create or replace function private.delete_old_events(most integer) returns table (organization_id uuid, deleted bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
#variable_conflict use_column
declare
    purpose text;
    ids uuid[]; dates date[]; starts timestamptz[]; ends timestamptz[];
begin
    foreach purpose in array array['events', 'event_hours', 'event_days', 'cohorts', 'funnels'] loop
        perform private.lock_organizations(purpose, array(select k.organization_id from private.kept_layers('events') k));
    end loop;
    select array_agg(d.organization_id), array_agg(d.date), array_agg(d.day_start), array_agg(d.day_end) into ids, dates, starts, ends
    from private.days_past_retention('events', 'event_tracking', most) d
    where not exists (
        select from public.partition_ledger l
        where l.organization_id = d.organization_id and l.asset in ('cohort_analysis', 'funnel_analysis')
          and l.bucket = d.date::timestamp at time zone 'UTC' and l.status <> 'done');
    perform private.note_removed('events', ids, ends);
    return query
    with days as materialized (
        select * from unnest(ids, dates, starts, ends) d (organization_id, date, day_start, day_end)
    ), sessions as (
        delete from public.visitor_sessions s using days d
        where s.organization_id = d.organization_id and s.started_at >= d.day_start and s.started_at < d.day_end
    ), marks as (
        delete from public.partition_ledger l using days d
        where l.organization_id = d.organization_id and l.asset = 'event_tracking'
          and l.bucket >= date_trunc('hour', d.day_start) and l.bucket < date_trunc('hour', d.day_end)
        returning l.organization_id
    ), gone as (
        delete from public.event_tracking e using days d
        where e.organization_id = d.organization_id and e."timestamp" >= d.day_start and e."timestamp" < d.day_end
        returning e.organization_id, e.id
    ), messages as (
        delete from public.event_messages m using gone g where m.organization_id = g.organization_id and m.id = g.id
    )
    select g.organization_id, sum(g.n)::bigint
    from (select m.organization_id, 0 as n from marks m union all select f.organization_id, 1 from gone f) g
    group by 1;
end $$;
