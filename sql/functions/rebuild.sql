-- A layer computed again from raw pages, by the same functions that computed it, and compared with what was there.
--
-- All in the caller's one transaction: what it deletes and computes lies beside the live rows, as versions that nobody else sees,
-- and its commit swaps all layers at once; readers wait for nothing, and read the old or the new. A roll-back makes it a mere check.
-- The organisations' other writers wait for their turn; collected events come in all the while.

-- Rows of the layers in question, each as its table, key and content; without what says only when a row was written, or which of
-- several pages with the same version of an order it was taken from.
create or replace function private.rebuild_rows(
    layers text[], organization_ids uuid[], from_time timestamptz, to_time timestamptz, from_date date, to_date date)
returns table (table_name text, organization_id uuid, content text)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    select 'orders', t.organization_id, (to_jsonb(t) - 'fetched_at')::text from public.orders t
    where 'orders' = any (layers) and t.organization_id = any (organization_ids) and t.bucket_at >= from_time and t.bucket_at < to_time
    union all
    select 'refunds', t.organization_id, (to_jsonb(t) - 'fetched_at')::text from public.refunds t
    where 'orders' = any (layers) and t.organization_id = any (organization_ids) and t.bucket_at >= from_time and t.bucket_at < to_time
    union all
    select 'order_sales', t.organization_id, to_jsonb(t)::text from public.order_sales t
    where 'orders' = any (layers) and t.organization_id = any (organization_ids) and t.bucket_at >= from_time and t.bucket_at < to_time
    union all
    select 'customers', t.organization_id, to_jsonb(t)::text from public.customers t
    where 'orders' = any (layers) and t.organization_id = any (organization_ids)
    union all
    select 'metric_observations', t.organization_id, to_jsonb(t)::text from public.metric_observations t
    where 'hourly' = any (layers) and t.channel_id = 5 and t.organization_id = any (organization_ids)
      and t.bucket_at >= from_time and t.bucket_at < to_time
    union all
    select 'hourly_facts', t.organization_id, (to_jsonb(t) - '{created_at,updated_at}'::text[])::text from public.hourly_facts t
    where 'hourly' = any (layers) and t.organization_id = any (organization_ids) and t."timestamp" >= from_time and t."timestamp" < to_time
    union all
    select 'daily_facts', t.organization_id, (to_jsonb(t) - '{created_at,updated_at}'::text[])::text from public.daily_facts t
    where 'daily' = any (layers) and t.organization_id = any (organization_ids) and t.date >= from_date and t.date < to_date
    union all
    select 'cohort_analysis', t.organization_id, (to_jsonb(t) - '{id,created_at}'::text[])::text from public.cohort_analysis t
    where 'cohorts' = any (layers) and t.organization_id = any (organization_ids)
    union all
    select 'funnel_analysis', t.organization_id, (to_jsonb(t) - '{id,created_at}'::text[])::text from public.funnel_analysis t
    where 'funnels' = any (layers) and t.organization_id = any (organization_ids) and t.date >= from_date and t.date < to_date
$$;

-- Rebuilds layers (orders, hourly, daily, cohorts, funnels) of organisations over [from_date, to_date), days of their zones. Cohorts
-- hang on an organisation's whole history and are counted anew as a whole. Returns a row a table and organisation: rows that are
-- there now, how many of them were missing before (or were other ones), and how many that were there are none of them; error: what
-- could not be computed, and keeps the rows that it had.
-- Raises invalid_parameter_value where hours or days are asked for of which the hours have left by retention: computed again of what is left, they
-- would be a part of themselves. Orders of which the raw page is no longer there stay as they are.
create or replace function private.rebuild(layers text[], organization_ids uuid[], from_date date, to_date date)
returns table (table_name text, organization_id uuid, row_count bigint, missing bigint, wrong bigint, error text)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
declare
    purpose text;
    floors timestamptz := (select coalesce(max(s.dropped_to), '-infinity') from private.partition_steps s
                           where s.parent in ('hourly_facts', 'metric_observations'));
    from_time timestamptz := (from_date::timestamp - interval '14 hours') at time zone 'UTC';
    to_time timestamptz := least((to_date::timestamp + interval '13 hours') at time zone 'UTC', date_trunc('hour', now()));
    too_early record;
begin
    foreach purpose in array array['raw', 'entities', 'event_hours', 'event_days', 'hourly', 'daily', 'cohorts', 'funnels'] loop
        organization_ids := private.lock_organizations(purpose, organization_ids);
    end loop;
    if layers && '{hourly,daily}' then
        select o.slug, greatest(floors, r.removed_to) as kept_from into too_early
        from public.organizations o
        left join public.organization_retention r on r.organization_id = o.id and r.layer = 'hourly'
        where o.id = any (organization_ids) and from_date::timestamp at time zone o.time_zone < greatest(floors, r.removed_to)
        order by 2 desc limit 1;
        if found then
            raise exception 'hours of % before % UTC have left by retention, and days before cannot be made of them',
                too_early.slug, to_char(too_early.kept_from, 'YYYY-MM-DD HH24:MI')
                using errcode = 'invalid_parameter_value', hint = 'Begin the range later, or rebuild the layers orders, cohorts and funnels alone.';
        end if;
        from_time := greatest(from_time, floors);
    end if;

    drop table if exists pg_temp.rebuild_before, pg_temp.rebuild_errors;
    create temp table rebuild_before on commit drop as
    select * from private.rebuild_rows(layers, organization_ids, from_time, to_time, from_date, to_date);
    create temp table rebuild_errors (table_name text, organization_id uuid, error text) on commit drop;

    if 'orders' = any (layers) then
        perform private.forget_orders(organization_ids, from_time, to_time);
        insert into pg_temp.rebuild_errors
        select 'orders', r.organization_id, r.error from public.ingest_orders(organization_ids, from_time, to_time) r where r.error is not null;
        perform private.analyze_entities();
    end if;
    if 'hourly' = any (layers) then
        insert into pg_temp.rebuild_errors
        select 'metric_observations', r.organization_id, r.error from public.summarize_events(organization_ids, from_time, to_time) r where r.error is not null;
        insert into pg_temp.rebuild_errors
        select 'hourly_facts', r.organization_id, r.error from public.aggregate_hourly_data(organization_ids, from_time, to_time) r where r.error is not null;
    end if;
    if 'daily' = any (layers) then
        insert into pg_temp.rebuild_errors
        select 'daily_facts', r.organization_id, r.error from public.aggregate_daily_data(organization_ids, from_date, to_date - 1) r where r.error is not null;
    end if;
    if 'cohorts' = any (layers) then
        -- Of another kind than before: that makes it count all anew.
        update public.cohort_state s set has_orders = not s.has_orders where s.organization_id = any (organization_ids);
        insert into pg_temp.rebuild_errors
        select 'cohort_analysis', r.organization_id, r.error from public.aggregate_cohorts(organization_ids, from_date, to_date - 1) r where r.error is not null;
    end if;
    if 'funnels' = any (layers) then
        perform private.mark_stale('funnel_analysis', array_agg(o.id), array_agg(d.day at time zone 'UTC'))
        from public.organizations o
        cross join generate_series(from_date::timestamp, (to_date - 1)::timestamp, interval '1 day') as d (day)
        where o.id = any (organization_ids) and exists (select from public.funnels f where f.organization_id = o.id);
        perform public.aggregate_funnels(organization_ids, from_date, to_date - 1);
    end if;

    return query
    with compared as (
        select coalesce(b.table_name, a.table_name) as table_name, coalesce(b.organization_id, a.organization_id) as organization_id,
               a.content is not null as is_now, b.content is not null as was_before
        from private.rebuild_rows(layers, organization_ids, from_time, to_time, from_date, to_date) a
        full join pg_temp.rebuild_before b
            on b.table_name = a.table_name and b.organization_id = a.organization_id and b.content = a.content
    ), counted as (
        select c.table_name, c.organization_id, count(*) filter (where c.is_now) as row_count,
               count(*) filter (where not c.was_before) as missing, count(*) filter (where not c.is_now) as wrong
        from compared c group by 1, 2
    )
    select k.table_name, k.organization_id, coalesce(c.row_count, 0), coalesce(c.missing, 0), coalesce(c.wrong, 0),
           (select min(e.error) from pg_temp.rebuild_errors e where e.table_name = k.table_name and e.organization_id = k.organization_id)
    from (select c.table_name, c.organization_id from counted c union select e.table_name, e.organization_id from pg_temp.rebuild_errors e) k
    left join counted c using (table_name, organization_id)
    order by 1, 2;
end $$;

-- Deletes what the raw pages at hand make anew (orders, refunds and sales of these hours), and opens these pages again. An order
-- whose page has left, or that its store has deleted, stays: nothing could bring it back.
create or replace function private.forget_orders(organization_ids uuid[], from_time timestamptz, to_time timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    drop table if exists pg_temp.reopened_pages;
    create temp table reopened_pages on commit drop as
    select p.organization_id, p.data_source_id, p.source, p.stream, p.fetched_at, p.id
    from public.raw_data_backup p
    where p.organization_id = any (organization_ids) and p.source in ('woocommerce', 'shopify')
      and p.stream in ('orders', 'bulk_orders', 'refunds', 'customers')
      and coalesce(p.window_start, p.fetched_at) < to_time + interval '1 hour' and coalesce(p.window_end, p.fetched_at) >= from_time;
    analyze pg_temp.reopened_pages;

    delete from public.order_sales s
    where s.organization_id = any (organization_ids) and s.bucket_at >= from_time and s.bucket_at < to_time
      and exists (
          select from public.orders o join pg_temp.reopened_pages p using (organization_id, data_source_id, fetched_at)
          where o.organization_id = s.organization_id and o.data_source_id = s.data_source_id and o.order_id = s.order_id);
    delete from public.orders o
    where o.organization_id = any (organization_ids) and o.bucket_at >= from_time and o.bucket_at < to_time and o.status <> 'deleted'
      and exists (select from pg_temp.reopened_pages p
                  where p.organization_id = o.organization_id and p.data_source_id = o.data_source_id and p.fetched_at = o.fetched_at
                    and p.stream in ('orders', 'bulk_orders'));
    delete from public.refunds r
    where r.organization_id = any (organization_ids) and r.bucket_at >= from_time and r.bucket_at < to_time
      and exists (select from pg_temp.reopened_pages p
                  where p.organization_id = r.organization_id and p.data_source_id = r.data_source_id and p.fetched_at = r.fetched_at
                    and p.stream = 'refunds');
    update public.raw_data_backup p set processed = false
    from pg_temp.reopened_pages o
    where p.organization_id = o.organization_id and p.source = o.source and p.stream = o.stream and p.fetched_at = o.fetched_at
      and p.id = o.id and p.processed;
end $$;

-- What the orders' tables hold by now, for the plans of what comes next in the transaction: as the statistics said, or with none,
-- cohorts of a year of one shop took 45 seconds instead of a third of one. (With the owner's rights: nobody else may.)
create or replace function private.analyze_entities() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    analyze public.orders, public.order_sales, public.refunds, public.customers, public.cohort_orders, public.cohort_members;
end $$;
