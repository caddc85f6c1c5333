-- cohort_analysis, for all organisations of a run at once.
--
-- Cohorts are counted from members, visits and orders by the day of each organisation's time zone (tables cohort_members,
-- cohort_visits, cohort_orders), which are functions of the days computed so far; whatever the order of days, batches and
-- reruns, they end the same. Computing a day takes in what changed on it: an ordinary day writes this week's and this
-- month's rows; a member whose first order, sign-up or visit turns out to be another day's leaves one cohort and joins
-- another. When a week or month has begun since the last computation, each cohort gets its next row, and the rows of the
-- period that ended become complete: so any day computed, as the hourly tick does, brings this about.
-- A day or two that wait in the ledger are added to the rows that there are. What was damaged is counted anew when a day
-- of the same week and month is computed that does not wait, or more than two days are, or when a period begins.
-- Writes only rows that differ; rows, ledger and helper tables change in one transaction. A day on which a member's order
-- is in a currency without a rate is failed for that organisation alone and keeps the rows that it had.
-- Both dates are included. Returns one row an organisation that had work or has a failure.
create or replace function public.aggregate_cohorts(
    organization_ids uuid[], from_date date, to_date date, run_id uuid default null)
returns table (organization_id uuid, rows_written bigint, rows_deleted bigint, days bigint, failed_days bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off set random_page_cost = 1.1 as $$
#variable_conflict use_column
begin
    organization_ids := private.lock_organizations('cohorts', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_date::timestamp at time zone 'UTC',
                                      (to_date + 1)::timestamp at time zone 'UTC');
    drop table if exists pg_temp.cohort_open, pg_temp.cohort_scope, pg_temp.cohort_period_types, pg_temp.cohort_lines,
        pg_temp.cohort_blocked, pg_temp.cohort_order_changes, pg_temp.cohort_visitors, pg_temp.cohort_masks,
        pg_temp.cohort_visit_days, pg_temp.cohort_gone,
        pg_temp.cohort_visit_changes, pg_temp.cohort_visit_deltas, pg_temp.cohort_added, pg_temp.cohort_users, pg_temp.cohort_customers,
        pg_temp.cohort_person_changes,
        pg_temp.cohort_signups, pg_temp.cohort_anchors, pg_temp.cohort_anchor_changes, pg_temp.cohort_moves, pg_temp.cohort_touched,
        pg_temp.cohort_bounds, pg_temp.cohort_paid, pg_temp.cohort_facts, pg_temp.cohort_sizes, pg_temp.cohort_cells, pg_temp.cohort_written;

    -- Read before the sources are: a day marked in between keeps a newer version, and stays stale.
    create temp table cohort_open on commit drop as
    select b.organization_id, (b.bucket at time zone 'UTC')::date as date, b.input_version
    from private.open_buckets('cohort_analysis', organization_ids, from_date::timestamp at time zone 'UTC',
                              (to_date + 1)::timestamp at time zone 'UTC', '1 day') b;

    perform private.scope_cohorts(organization_ids, from_date, to_date);
    perform private.read_cohort_orders();
    -- One that is counted anew as a whole is so or not at all: half of it would be in another currency.
    insert into pg_temp.cohort_blocked
    select s.organization_id, d.at::date, (
        select min(b.reason) from pg_temp.cohort_blocked b where b.organization_id = s.organization_id)
    from pg_temp.cohort_scope s
    cross join generate_series(from_date::timestamp, to_date::timestamp, interval '1 day') as d (at)
    where s.is_whole and exists (select from pg_temp.cohort_blocked b where b.organization_id = s.organization_id)
      and not exists (select from pg_temp.cohort_blocked b where b.organization_id = s.organization_id and b.date = d.at::date);
    delete from pg_temp.cohort_scope s
    where s.is_whole and exists (select from pg_temp.cohort_blocked b where b.organization_id = s.organization_id);
    delete from pg_temp.cohort_lines l
    where not exists (select from pg_temp.cohort_scope s where s.organization_id = l.organization_id);

    perform private.store_cohort_orders();
    perform private.read_cohort_visits();
    perform private.compare_cohort_visits();
    perform private.find_touched_members();
    perform private.link_cohort_persons();
    perform private.anchor_cohort_members();
    perform private.store_cohort_visits();
    perform private.choose_cohorts();
    perform private.count_cohort_facts();
    perform private.store_cohort_cells();

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at, error,
         next_attempt_at)
    select k.organization_id, 'cohort_analysis', k.date::timestamp at time zone 'UTC',
           case when k.reason is null then 'done' else 'failed' end, coalesce(k.input_version, p.input_version, 1),
           case when k.reason is null then k.input_version end, coalesce(v.members, 0) + coalesce(m.members, 0),
           aggregate_cohorts.run_id, now(), k.reason, case when k.reason is not null then now() + interval '5 minutes' end
    from (
        select organization_id, date, o.input_version, b.reason
        from pg_temp.cohort_open o
        full join (select * from pg_temp.cohort_blocked where date between from_date and to_date) b using (organization_id, date)
    ) k
    left join (select c.organization_id, c.date, count(*)::integer as members from pg_temp.cohort_visitors c group by 1, 2) v
        on v.organization_id = k.organization_id and v.date = k.date
    left join (select l.organization_id, l.date, count(distinct l.member)::integer as members from pg_temp.cohort_lines l group by 1, 2) m
        on m.organization_id = k.organization_id and m.date = k.date
    left join public.partition_ledger p
        on p.organization_id = k.organization_id and p.asset = 'cohort_analysis'
       and p.bucket = k.date::timestamp at time zone 'UTC'
       and p.bucket >= from_date::timestamp at time zone 'UTC' and p.bucket < (to_date + 1)::timestamp at time zone 'UTC'
    -- Failed as before: nothing to write, nor to lock.
    where k.reason is null or (p.status, p.error) is distinct from ('failed', k.reason)
    order by 1, 3
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status,
        computed_version = case when excluded.status = 'done' then l.input_version else l.computed_version end,
        row_count = excluded.row_count, run_id = excluded.run_id,
        computed_at = excluded.computed_at, error = excluded.error,
        attempts = case when excluded.status = 'done' then 0 else l.attempts end,
        next_attempt_at = case when excluded.status = 'failed'
            then greatest(l.next_attempt_at, excluded.next_attempt_at) end
    where l.input_version = excluded.input_version;

    -- A cell is judged when its period ends.
    perform private.mark_rule_insights(array_agg(d.organization_id), array_agg(d.bucket))
    from (
        select distinct w.organization_id,
               (w.cohort_date + (w.period_number + 1) * ('1 ' || w.period_type)::interval - interval '1 day') at time zone 'UTC' as bucket
        from pg_temp.cohort_written w
    ) d;

    return query
    select k.organization_id, coalesce(w.written, 0), coalesce(w.deleted, 0), coalesce(o.days, 0), coalesce(b.days, 0), b.reason
    from (
        select organization_id from pg_temp.cohort_open
        union select organization_id from pg_temp.cohort_written
        union select organization_id from pg_temp.cohort_blocked
    ) k
    left join (select organization_id, count(cohort_size) as written, count(*) - count(cohort_size) as deleted
               from pg_temp.cohort_written group by 1) w using (organization_id)
    left join (select d.organization_id, count(*) as days
               from pg_temp.cohort_open d
               where not exists (select from pg_temp.cohort_blocked b where b.organization_id = d.organization_id and b.date = d.date)
               group by 1) o using (organization_id)
    left join (select organization_id, count(*) as days, min(reason) as reason
               from pg_temp.cohort_blocked where date between from_date and to_date group by 1) b using (organization_id)
    order by k.organization_id;
end $$;
