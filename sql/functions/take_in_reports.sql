-- Reports (snapshots of a vendor's own sums) into metric_observations and daily_observations.
--
-- The newest answer that covers an hour is the truth for it: figures that differ are replaced, and what vanished from the
-- answer vanishes here. Only what differs is written, and only its hours and days become stale. Called by
-- private.store_source_pages, for the slots whose answer is complete with that page.
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
    ), labelled as (
        select p.slot, p.source, p.stream, p.time_zone,
               p.raw_data #>> array['metricHeaders', (m.position - 1)::text, 'name'] as native,
               private.report_hour(r.row #>> '{dimensionValues,0,value}') as local_at,
               m.cell ->> 'value' as value,
               r.row #>> array['metricValues', w.position::text, 'value'] as weight
        from pages p
        cross join lateral (
            select max(h.position - 1) as position
            from jsonb_array_elements(p.raw_data -> 'metricHeaders') with ordinality as h (header, position)
            where h.header ->> 'name' = 'sessions'
        ) w
        cross join lateral jsonb_array_elements(p.raw_data -> 'rows') as r (row)
        cross join lateral jsonb_array_elements(r.row -> 'metricValues') with ordinality as m (cell, position)
        where p.source = 'google_analytics'
        union all
        select p.slot, p.source, p.stream, p.time_zone, v.native,
               private.report_hour(replace(r.row ->> 'date_start', '-', '')
                   || coalesce(left(r.row ->> 'hourly_stats_aggregated_by_advertiser_time_zone', 2), '')),
               v.value, null
        from pages p
        cross join lateral jsonb_array_elements(p.raw_data -> 'data') as r (row)
        cross join lateral (values
            ('spend', r.row ->> 'spend'),
            ('impressions', r.row ->> 'impressions'),
            ('clicks', r.row ->> 'clicks'),
            ('inline_link_clicks', r.row ->> 'inline_link_clicks'),
            ('reach', r.row ->> 'reach'),
            ('outbound_clicks', private.first_action(r.row -> 'outbound_clicks', '{outbound_click}')),
            ('video_view', private.first_action(r.row -> 'actions', '{video_view}')),
            ('landing_page_view', private.first_action(r.row -> 'actions', '{omni_landing_page_view,landing_page_view}')),
            ('add_to_cart', private.first_action(r.row -> 'actions',
                '{omni_add_to_cart,add_to_cart,offsite_conversion.fb_pixel_add_to_cart}')),
            ('initiate_checkout', private.first_action(r.row -> 'actions',
                '{omni_initiated_checkout,initiate_checkout,offsite_conversion.fb_pixel_initiate_checkout}')),
            ('purchase', private.first_action(r.row -> 'actions',
                '{omni_purchase,purchase,offsite_conversion.fb_pixel_purchase}')),
            ('purchase_value', private.first_action(r.row -> 'action_values',
                '{omni_purchase,purchase,offsite_conversion.fb_pixel_purchase}'))
        ) as v (native, value)
        where p.source = 'meta_ads' and v.value is not null
    )
    select l.slot, m.metric_id, h.channel_id,
           case when m.grain = 'hour' then private.first_instant(l.local_at, l.time_zone) end,
           case when m.grain = 'day' then l.local_at::date end,
           sum(private.parse_number(l.value)), sum(private.parse_number(l.weight)) filter (where m.metric_id = 10)
    from labelled l
    join private.report_metrics m on m.source_type = l.source and m.stream = l.stream and m.native = l.native
    join public.channels h on h.channel = l.source
    where private.parse_number(l.value) is not null and l.local_at is not null
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

-- Meta repeats the same conversions under several names, which do not add up: the first of them that is there.
create or replace function private.first_action(actions jsonb, kinds text[]) returns text
language sql immutable parallel safe set search_path = '' as $$
    select a.action ->> 'value'
    from jsonb_array_elements(case jsonb_typeof(actions) when 'array' then actions else '[]' end) as a (action)
    join unnest(kinds) with ordinality as k (kind, rank) on k.kind = a.action ->> 'action_type'
    order by k.rank
    limit 1
$$;
