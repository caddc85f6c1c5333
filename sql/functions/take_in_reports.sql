-- Reports (snapshots of a vendor's own sums) into metric_observations and daily_observations.
--
-- The newest answer that covers an hour is the truth for it: figures that differ are replaced, and what vanished from the
-- answer vanishes here. Only what differs is written, and only its hours and days become stale. Called by
-- private.store_source_pages, for the slots whose answer is complete with that page.
-- (Its part in report_cells by now.)
drop function if exists private.first_action(jsonb, text[]);
create or replace function private.take_in_reports(slots integer[])
returns table (slot integer, created bigint, updated bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    complete integer[];
    first_at timestamptz; last_at timestamptz;
    slot_of integer[]; org_of uuid[]; source_of text[]; at_of timestamptz[]; kind_of text[]; grain_of text[];
begin
    select array_agg(p.slot), min(p.window_start), max(p.window_end) into complete, first_at, last_at
    from pg_temp.source_pages p
    where p.slot = any (slots) and p.is_report and p.is_last and p.source in ('google_analytics', 'meta_ads');
    if complete is null then
        return;
    end if;
    delete from pg_temp.source_cells;
    insert into pg_temp.source_cells
    select c.slot, c.metric_id, c.channel_id, c.bucket_at, c.date, c.value, c.weight,
           case when m.unit = 'money' and p.currency <> o.currency then p.currency end
    from private.report_cells(complete) c
    join pg_temp.source_pages p using (slot)
    join public.metrics m using (metric_id)
    join public.organizations o on o.id = p.organization_id
    where c.date is not null or c.bucket_at >= p.window_start and c.bucket_at < p.window_end;

    -- Before the comparison, which reads the parents and cannot have them altered meanwhile.
    perform private.ensure_partitions('metric_observations', d.day, d.day + interval '1 microsecond')
    from (select distinct date_trunc('day', c.bucket_at) as day from pg_temp.source_cells c where c.bucket_at is not null) d;
    perform private.ensure_partitions('daily_observations', d.month, d.month + interval '1 microsecond')
    from (select distinct date_trunc('month', c.date::timestamp) at time zone 'UTC' as month
          from pg_temp.source_cells c where c.date is not null) d;

    with scopes as materialized (
        select p.slot, p.organization_id, p.data_source_id, p.source, p.window_start, p.window_end, m.metric_id, h.channel_id,
               m.grain, (p.window_start at time zone p.time_zone)::date as first_date,
               (p.window_end at time zone p.time_zone)::date as end_date
        from pg_temp.source_pages p
        join private.report_metrics m on m.source_type = p.source and m.stream = p.stream
        join public.channels h on h.channel = p.source
        where p.slot = any (complete)
    ), hours as materialized (
        -- value null: it has vanished at the source.
        select slot, metric_id, channel_id, bucket_at, f.value, f.currency, e.value is null as is_new
        from (select c.* from pg_temp.source_cells c where c.bucket_at is not null) f
        full join (
            select s.slot, o.metric_id, o.channel_id, o.bucket_at, o.value, o.currency
            from scopes s
            join public.metric_observations o
                on o.organization_id = s.organization_id and o.metric_id = s.metric_id and o.channel_id = s.channel_id
               and o.data_source_id = s.data_source_id and o.bucket_at >= s.window_start and o.bucket_at < s.window_end
            where s.grain = 'hour' and o.bucket_at >= first_at and o.bucket_at < last_at
        ) e using (slot, metric_id, channel_id, bucket_at)
        where (f.value, f.currency) is distinct from (e.value, e.currency)
    ), days as materialized (
        select slot, metric_id, channel_id, date, f.value, f.weight, f.currency, e.value is null as is_new
        from (select c.* from pg_temp.source_cells c where c.date is not null) f
        full join (
            select s.slot, o.metric_id, o.channel_id, o.date, o.value, o.weight, o.currency
            from scopes s
            join public.daily_observations o
                on o.organization_id = s.organization_id and o.metric_id = s.metric_id and o.channel_id = s.channel_id
               and o.data_source_id = s.data_source_id and o.date >= s.first_date and o.date < s.end_date
            where s.grain = 'day'
        ) e using (slot, metric_id, channel_id, date)
        where (f.value, f.weight, f.currency) is distinct from (e.value, e.weight, e.currency)
    ), hours_gone as (
        delete from public.metric_observations o
        using hours h join pg_temp.source_pages p using (slot)
        where (select bool_or(v.value is null) from hours v)
          and h.value is null and o.bucket_at >= first_at and o.bucket_at < last_at
          and o.organization_id = p.organization_id and o.data_source_id = p.data_source_id and o.metric_id = h.metric_id
          and o.channel_id = h.channel_id and o.bucket_at = h.bucket_at
    ), days_gone as (
        delete from public.daily_observations o
        using days d join pg_temp.source_pages p using (slot)
        where d.value is null and o.organization_id = p.organization_id and o.data_source_id = p.data_source_id
          and o.metric_id = d.metric_id and o.channel_id = d.channel_id and o.date = d.date
    ), hours_stored as (
        insert into public.metric_observations
            (organization_id, bucket_at, data_source_id, metric_id, channel_id, value, currency)
        select p.organization_id, h.bucket_at, p.data_source_id, h.metric_id, h.channel_id, h.value, h.currency
        from hours h join pg_temp.source_pages p using (slot)
        where h.value is not null
        order by 1, 4, 5, 2
        on conflict (organization_id, metric_id, channel_id, bucket_at, data_source_id)
            do update set value = excluded.value, currency = excluded.currency
    ), days_stored as (
        insert into public.daily_observations
            (organization_id, data_source_id, date, metric_id, channel_id, value, weight, currency)
        select p.organization_id, p.data_source_id, d.date, d.metric_id, d.channel_id, d.value, d.weight, d.currency
        from days d join pg_temp.source_pages p using (slot)
        where d.value is not null
        order by 1, 4, 5, 3
        on conflict (organization_id, metric_id, channel_id, date, data_source_id)
            do update set value = excluded.value, weight = excluded.weight, currency = excluded.currency
    ), changes as (
        select h.slot, 'hour' as grain, h.bucket_at as at, case when h.is_new then 'created' else 'updated' end as kind from hours h
        union all
        select d.slot, 'day', d.date::timestamp at time zone 'UTC', case when d.is_new then 'created' else 'updated' end from days d
    )
    select array_agg(c.slot), array_agg(p.organization_id), array_agg(p.source), array_agg(c.at), array_agg(c.kind), array_agg(c.grain)
    into slot_of, org_of, source_of, at_of, kind_of, grain_of
    from changes c join pg_temp.source_pages p using (slot);

    if slot_of is not null then
        perform private.mark_stale('raw_google_analytics',
                    array_agg(k.organization_id) filter (where k.grain = 'hour' and k.source = 'google_analytics'),
                    array_agg(k.bucket) filter (where k.grain = 'hour' and k.source = 'google_analytics')),
                private.mark_stale('raw_meta_ads',
                    array_agg(k.organization_id) filter (where k.grain = 'hour' and k.source = 'meta_ads'),
                    array_agg(k.bucket) filter (where k.grain = 'hour' and k.source = 'meta_ads')),
                private.mark_stale('hourly_aggregates',
                    array_agg(k.organization_id) filter (where k.grain = 'hour'),
                    array_agg(k.bucket) filter (where k.grain = 'hour')),
                private.mark_stale('daily_aggregates',
                    array_agg(k.organization_id) filter (where k.grain = 'day'),
                    array_agg(k.bucket) filter (where k.grain = 'day'))
        from (
            select distinct u.org as organization_id, u.source, u.grain, date_trunc('hour', u.at) as bucket
            from unnest(org_of, source_of, grain_of, at_of) as u (org, source, grain, at)
        ) k;
    end if;
    return query
    select s.slot, count(u.kind) filter (where u.kind = 'created'), count(u.kind) filter (where u.kind = 'updated')
    from unnest(complete) as s (slot)
    left join unnest(slot_of, kind_of) as u (slot, kind) using (slot)
    group by s.slot;
end $$;

-- Every figure of these answers: by the instant at which the local hour begins (UTC), or by the account's date.
create or replace function private.report_cells(slots integer[])
returns table (slot integer, metric_id smallint, channel_id smallint, bucket_at timestamptz, date date, value numeric, weight numeric)
language sql stable set search_path = '' set timezone = 'UTC' as $$
    with pages as materialized (
        select a.*, h.channel_id, row_number() over () as page
        from (
            select p.slot, p.source, p.stream, p.time_zone, p.raw_data
            from pg_temp.source_pages p
            where p.slot = any (slots)
            union all
            select p.slot, p.source, p.stream, r.time_zone, r.raw_data
            from pg_temp.source_pages p
            join public.raw_data_backup r
                on r.organization_id = p.organization_id and r.source = p.source and r.stream = p.stream
               and r.fetch_id = p.fetch_id and r.page < p.page
               and r.fetched_at > p.fetched_at - interval '2 days' and r.fetched_at <= p.fetched_at
            where p.slot = any (slots) and p.page > 1
        ) a
        join public.channels h on h.channel = a.source
    ), google_columns as materialized (
        -- Which column of an answer is which metric. Of a mean, the sessions of the same row are the weight.
        select p.page, m.metric_id, m.grain, array['metricValues', (h.position - 1)::text, 'value'] as path,
               case when m.metric_id = 10 then
                   array['metricValues', max(h.position - 1) filter (where h.header ->> 'name' = 'sessions')
                                         over (partition by p.page)::text, 'value'] end as weight_path
        from pages p
        cross join lateral jsonb_array_elements(p.raw_data -> 'metricHeaders') with ordinality as h (header, position)
        left join private.report_metrics m
            on m.source_type = p.source and m.stream = p.stream and m.native = h.header ->> 'name'
        where p.source = 'google_analytics'
    ), google_rows as (
        select p.page, p.slot, p.channel_id, p.time_zone, r.row, r.row #>> '{dimensionValues,0,value}' as label
        from pages p
        cross join lateral jsonb_array_elements(p.raw_data -> 'rows') as r (row)
        where p.source = 'google_analytics'
    ), meta_rows as materialized (
        select p.slot, p.channel_id, p.stream, p.time_zone, r.row, row_number() over () as number,
               replace(r.row ->> 'date_start', '-', '')
                   || coalesce(left(r.row ->> 'hourly_stats_aggregated_by_advertiser_time_zone', 2), '') as label
        from pages p
        cross join lateral jsonb_array_elements(p.raw_data -> 'data') as r (row)
        where p.source = 'meta_ads'
    ), meta_actions as (
        -- Meta repeats the same conversions under several names, which do not add up: the first of them that is there.
        select distinct on (r.number, k.native) r.number, k.native, a.action ->> 'value' as value
        from meta_rows r
        cross join (values ('outbound_clicks'), ('actions'), ('action_values')) as l (list)
        cross join lateral jsonb_array_elements(
            case jsonb_typeof(r.row -> l.list) when 'array' then r.row -> l.list else '[]' end) as a (action)
        join (values
            ('outbound_clicks', 'outbound_clicks', 'outbound_click', 1),
            ('actions', 'video_view', 'video_view', 1),
            ('actions', 'landing_page_view', 'omni_landing_page_view', 1),
            ('actions', 'landing_page_view', 'landing_page_view', 2),
            ('actions', 'add_to_cart', 'omni_add_to_cart', 1),
            ('actions', 'add_to_cart', 'add_to_cart', 2),
            ('actions', 'add_to_cart', 'offsite_conversion.fb_pixel_add_to_cart', 3),
            ('actions', 'initiate_checkout', 'omni_initiated_checkout', 1),
            ('actions', 'initiate_checkout', 'initiate_checkout', 2),
            ('actions', 'initiate_checkout', 'offsite_conversion.fb_pixel_initiate_checkout', 3),
            ('actions', 'purchase', 'omni_purchase', 1),
            ('actions', 'purchase', 'purchase', 2),
            ('actions', 'purchase', 'offsite_conversion.fb_pixel_purchase', 3),
            ('action_values', 'purchase_value', 'omni_purchase', 1),
            ('action_values', 'purchase_value', 'purchase', 2),
            ('action_values', 'purchase_value', 'offsite_conversion.fb_pixel_purchase', 3)
        ) as k (list, native, kind, rank) on k.list = l.list and k.kind = a.action ->> 'action_type'
        where r.row ? l.list
        order by r.number, k.native, k.rank
    ), figures as materialized (
        select r.slot, r.channel_id, r.time_zone, r.label, c.metric_id, c.grain,
               private.parse_number(r.row #>> c.path) as value, private.parse_number(r.row #>> c.weight_path) as weight
        from google_rows r
        join google_columns c using (page)
        where c.metric_id is not null
        union all
        select r.slot, r.channel_id, r.time_zone, r.label, m.metric_id, m.grain, private.parse_number(v.value), null
        from (
            select r.number, n.native, r.row ->> n.native as value
            from meta_rows r
            cross join (values ('spend'), ('impressions'), ('clicks'), ('inline_link_clicks'), ('reach')) as n (native)
            union all
            select a.number, a.native, a.value from meta_actions a
        ) v
        join meta_rows r using (number)
        join private.report_metrics m on m.source_type = 'meta_ads' and m.stream = r.stream and m.native = v.native
        where v.value is not null
    ), hours as materialized (
        -- One row a label, not one a figure: what a label means takes longer to find out than all else.
        select l.label, l.time_zone, t.local_at, private.first_instant(t.local_at, l.time_zone) as bucket_at
        from (select distinct f.label, f.time_zone from figures f) l
        cross join lateral (select private.report_hour(l.label) as local_at) t
    )
    select f.slot, f.metric_id, f.channel_id,
           case when f.grain = 'hour' then h.bucket_at end,
           case when f.grain = 'day' then h.local_at::date end,
           sum(f.value), sum(f.weight)
    from figures f
    join hours h on h.label = f.label and h.time_zone = f.time_zone
    where f.value is not null and h.local_at is not null
    group by 1, 2, 3, 4, 5
$$;

-- 2026112214 (or 20261122) as the local time that it names; null where it is none.
create or replace function private.report_hour(label text) returns timestamp
language plpgsql immutable parallel safe set search_path = '' as $$
begin
    if label ~ '^[0-9]{8}([0-9]{2})?$' then
        return make_timestamp(left(label, 4)::int, substr(label, 5, 2)::int, substr(label, 7, 2)::int,
                              coalesce(nullif(substr(label, 9, 2), ''), '0')::int, 0, 0);
    end if;
    return null;
exception when datetime_field_overflow or invalid_datetime_format then
    return null;
end $$;

-- The instant at which a zone's clocks show a time, the first of two where they are set back: a report has one bucket for
-- both hours. (PostgreSQL takes the second.)
create or replace function private.first_instant(local_at timestamp, time_zone text) returns timestamptz
language sql stable parallel safe set search_path = '' as $$
    select case
        when (t.at - interval '1 hour') at time zone time_zone = local_at then t.at - interval '1 hour'
        when (t.at - interval '30 minutes') at time zone time_zone = local_at then t.at - interval '30 minutes'
        else t.at end
    from (select local_at at time zone time_zone as at) t
$$;
