-- funnel_analysis from event_tracking, for all organisations of a run and all their funnels at once. Both dates are included.
--
-- A run is an actor on the local date of its entry: the known user, else the session (unit user), or the session. It goes
-- through the steps in their order, in absolute seconds from its entry; its deepest try of the date counts. A date is
-- computed until it is final: when its window has passed and nothing has marked it since, it is left alone. Dates whose
-- events have left by retention keep the rows that they have, in their version. Only rows that differ are written; rows and
-- ledger change in one transaction. Returns one row an organisation that had work.
create or replace function public.aggregate_funnels(
    organization_ids uuid[], from_date date, to_date date, run_id uuid default null)
returns table (organization_id uuid, rows_written bigint, rows_deleted bigint, days bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
declare
    from_time timestamptz := from_date::timestamp at time zone 'UTC';
    to_time timestamptz := (to_date + 1)::timestamp at time zone 'UTC';
begin
    organization_ids := private.lock_organizations('funnels', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time, to_time);
    drop table if exists pg_temp.funnel_days, pg_temp.due_funnels, pg_temp.funnel_diff,
        pg_temp.funnel_changes;

    -- What is not done, and what is done but was computed before it was final.
    create temp table funnel_days on commit drop as
    select d.*, coalesce(l.input_version, 1) as input_version, coalesce(l.row_count, 0) as row_count,
           d.day_start >= d.kept_from as is_kept,
           l.status is distinct from 'done' or l.computed_version is distinct from l.input_version
               or d.final_at <= now() as is_closing
    from (
        select g.id as organization_id, s.day::date as date, s.day at time zone 'UTC' as bucket, k.kept_from,
               s.day at time zone g.time_zone as day_start, (s.day + interval '1 day') at time zone g.time_zone as day_end,
               (s.day + interval '1 day') at time zone g.time_zone + f.longest as final_at
        from public.organizations g
        cross join lateral (select private.events_kept_of(g.id) as kept_from offset 0) k
        cross join generate_series(from_date::timestamp, to_date::timestamp, interval '1 day') as s (day)
        left join (
            select u.organization_id, max(u.window_seconds) * interval '1 second' as longest
            from public.funnels u where u.is_active group by 1
        ) f on f.organization_id = g.id
        where g.id = any (organization_ids)
    ) d
    left join public.partition_ledger l
        on l.organization_id = d.organization_id and l.asset = 'funnel_analysis' and l.bucket = d.bucket
       and l.bucket >= from_time and l.bucket < to_time
    where l.status is distinct from 'done' or l.computed_version is distinct from l.input_version
       or l.computed_at < d.final_at and d.day_start >= d.kept_from;

    create temp table due_funnels on commit drop as
    select row_number() over (order by f.organization_id, f.funnel_name)::integer as funnel_no, f.organization_id,
           f.funnel_name, f.version, f.unit, f.steps, jsonb_array_length(f.steps) as last_step,
           f.window_seconds * interval '1 second' as longest, g.time_zone, private.steps_overlap(f.steps) as shares_events,
           -- (Where clocks go back at midnight a day begins an hour before the instant that its first hour names.)
           d.scan_from - interval '3 hours' as scan_from,
           d.scan_to + interval '3 hours' as entries_to,
           d.scan_to + interval '3 hours' + f.window_seconds * interval '1 second' as scan_to
    from public.funnels f
    join public.organizations g on g.id = f.organization_id
    join (
        select k.organization_id, min(k.day_start) as scan_from, max(k.day_end) as scan_to
        from pg_temp.funnel_days k where k.is_kept and k.day_start <= now() group by 1
    ) d on d.organization_id = f.organization_id
    where f.is_active;

    perform private.find_funnel_runs();
    -- visitors null: the row has vanished.
    create temp table funnel_diff on commit drop as
    select organization_id, funnel_name, date, step, n.step_name, n.visitors, n.conversions, n.version, n.is_final,
           o.version is null as is_new
    from pg_temp.new_funnel_rows n
    full join (
        select a.organization_id, a.funnel_name::text, a.date, a.step_order as step, a.step_name, a.visitors, a.conversions,
               a.version, a.is_final
        from public.funnel_analysis a
        join pg_temp.funnel_days d on d.organization_id = a.organization_id and d.date = a.date and d.is_kept
        where a.organization_id = any (organization_ids) and a.date between from_date and to_date
    ) o using (organization_id, funnel_name, date, step)
    where (n.step_name, n.visitors, n.conversions, n.version, n.is_final)
        is distinct from (o.step_name::text, o.visitors, o.conversions, o.version, o.is_final);

    delete from public.funnel_analysis a
    using pg_temp.funnel_diff d
    where d.visitors is null and a.organization_id = d.organization_id and a.funnel_name = d.funnel_name
      and a.date = d.date and a.step_order = d.step;
    update public.funnel_analysis a
    set step_name = d.step_name, visitors = d.visitors, conversions = d.conversions, version = d.version, is_final = d.is_final
    from pg_temp.funnel_diff d
    where not d.is_new and d.visitors is not null and a.organization_id = d.organization_id and a.funnel_name = d.funnel_name
      and a.date = d.date and a.step_order = d.step;
    -- (No ON CONFLICT: in the organisations' turn nobody else adds rows, and asking costs a fifth of the insertion. The id
    -- comes of the key, the same whenever it is computed; drawing it cost a third.)
    insert into public.funnel_analysis
        (organization_id, funnel_name, date, step_order, step_name, visitors, conversions, version, is_final, id)
    select d.organization_id, d.funnel_name, d.date, d.step, d.step_name, d.visitors, d.conversions, d.version, d.is_final,
           md5(concat_ws('|', d.organization_id, d.date, d.step, d.funnel_name))::uuid
    from pg_temp.funnel_diff d
    where d.is_new
    order by d.organization_id, d.funnel_name, d.date, d.step;

    create temp table funnel_changes on commit drop as
    select d.organization_id, d.date, count(d.visitors) as written, count(*) - count(d.visitors) as deleted,
           count(*) filter (where d.is_new) - (count(*) - count(d.visitors)) as added
    from pg_temp.funnel_diff d
    group by 1, 2;

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at)
    select k.organization_id, 'funnel_analysis', k.bucket, 'done', k.input_version, k.input_version,
           greatest(k.row_count + coalesce(c.added, 0), 0), aggregate_funnels.run_id, now()
    from pg_temp.funnel_days k
    left join pg_temp.funnel_changes c using (organization_id, date)
    where k.is_closing or c.organization_id is not null
    order by 1, 3
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status, computed_version = excluded.computed_version, row_count = excluded.row_count,
        run_id = excluded.run_id, computed_at = excluded.computed_at, error = null, attempts = 0, next_attempt_at = null
    -- Marked meanwhile: it stays open.
    where l.input_version = excluded.input_version;

    perform private.mark_rule_insights(array_agg(c.organization_id), array_agg(c.date::timestamp at time zone 'UTC'))
    from pg_temp.funnel_changes c;

    return query
    select k.organization_id, coalesce(sum(c.written), 0)::bigint, coalesce(sum(c.deleted), 0)::bigint, count(*)
    from pg_temp.funnel_days k
    left join pg_temp.funnel_changes c using (organization_id, date)
    where k.is_closing or c.organization_id is not null
    group by 1
    order by 1;
end $$;
