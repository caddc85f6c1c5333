-- The rest of an erasure: pages, and what may mention the person beside their own rows. Piece by piece, a transaction each.

-- What one transaction does: a hundred pages, a hundred thousand events, and the small tables as a whole. By times that do not
-- change, so that a row that is written meanwhile stays in its piece.
create or replace function private.erasure_pieces(organization uuid)
returns table (table_name text, from_at timestamptz, to_at timestamptz)
language sql stable set search_path = '' as $$
    with cuts as (
        select 'raw_data_backup' as table_name, p.fetched_at as at, row_number() over (order by p.fetched_at) % 100 = 0 as is_cut
        from public.raw_data_backup p where p.organization_id = organization and p.source in ('woocommerce', 'shopify')
        union all
        select 'event_tracking', e."timestamp", row_number() over (order by e."timestamp") % 100000 = 0
        from public.event_tracking e where e.organization_id = organization
    ), starts as (
        select distinct c.table_name, c.at from cuts c where c.is_cut
        union
        select t.name, '-infinity' from unnest(array['raw_data_backup', 'event_tracking', 'quarantine', 'sync_logs', 'data_sources',
                                                     'operator_alerts', 'partition_ledger']) t (name)
    )
    select s.table_name, s.at, lead(s.at, 1, 'infinity') over (partition by s.table_name order by s.at)
    from starts s order by 1, 2
$$;

-- One piece for the erasure under way; returns the rows that changed. Doing it again changes nothing.
create or replace function private.erase_in_piece(
    organization uuid, erasure uuid, place text, from_at timestamptz, to_at timestamptz) returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off
set plan_cache_mode = force_custom_plan as $$
declare
    changed bigint;
begin
    perform private.seize_for_erasure(organization);
    perform private.prepare_erasure(organization);
    case place
        when 'raw_data_backup' then
            update public.raw_data_backup p set raw_data = n.page
            from (
                select p.source, p.stream, p.fetched_at, p.id,
                       private.without_erased(p.organization_id, p.data_source_id, p.source, p.stream, p.raw_data) as page
                from public.raw_data_backup p
                where p.organization_id = organization and p.source in ('woocommerce', 'shopify')
                  and p.fetched_at >= from_at and p.fetched_at < to_at
                offset 0
            ) n
            where p.organization_id = organization and p.source = n.source and p.stream = n.stream and p.fetched_at = n.fetched_at
              and p.id = n.id and p.raw_data <> n.page;
            get diagnostics changed = row_count;
        when 'event_tracking' then
            changed := private.erase_mentions(organization, from_at, to_at);
        when 'quarantine' then
            changed := private.erase_quarantined(organization);
        when 'sync_logs' then
            changed := private.erase_quoted(organization, place, 'error_message');
        when 'data_sources' then
            changed := private.erase_quoted(organization, place, 'last_error');
        when 'operator_alerts' then
            changed := private.erase_quoted(organization, place, 'message');
        when 'partition_ledger' then
            changed := private.erase_quoted(organization, place, 'error');
    end case;
    perform private.note_erased(organization, erasure, place, changed);
    return changed;
end $$;

-- What a column of messages quotes of the person.
create or replace function private.erase_quoted(organization uuid, table_name text, column_name text) returns bigint
language plpgsql set search_path = '' as $$
declare
    changed bigint;
begin
    execute format('update public.%1$I t set %2$I = private.hide_erased($1, t.%2$I) '
                   'where t.organization_id = $1 and t.%2$I <> private.hide_erased($1, t.%2$I)', table_name, column_name) using organization;
    get diagnostics changed = row_count;
    return changed;
end $$;

-- Other visitors' events of a time that name the person: on a device that both used, by the hash of an address, or by an id
-- as a whole value of a property. (Ids of fewer than 8 characters are numbers that may mean anything.)
create or replace function private.erase_mentions(organization uuid, from_at timestamptz, to_at timestamptz) returns bigint
language plpgsql set search_path = '' set jit = off set plan_cache_mode = force_custom_plan as $$
declare
    changed bigint;
    ids text[] := array(select n.plain from pg_temp.erased_now n where n.scope = 'site');
    hashes text[] := array(select '%' || n.plain || '%' from pg_temp.erased_now n where n.scope = 'email');
    quoted text[] := array(
        select '%' || replace(replace(replace(to_json(n.plain)::text, '\', '\\'), '%', '\%'), '_', '\_') || '%'
        from pg_temp.erased_now n where n.scope = 'site' and length(n.plain) >= 8);
begin
    update public.event_tracking e
    set anonymous_id = case when e.anonymous_id = any (ids)
            then (select n.token from pg_temp.erased_now n where n.scope = 'site' and n.plain = e.anonymous_id) else e.anonymous_id end,
        event_label = private.hide_erased(organization, e.event_label), page_url = private.hide_erased(organization, e.page_url),
        metadata = private.hide_erased(organization, private.rename_quoted(e.metadata::text))::jsonb
    where e.organization_id = organization and e."timestamp" >= from_at and e."timestamp" < to_at
      and (e.anonymous_id = any (ids) or e.metadata::text like any (hashes) or e.page_url like any (hashes)
           or e.event_label like any (hashes) or e.metadata::text like any (quoted));
    get diagnostics changed = row_count;
    return changed;
end $$;

-- The ids of pg_temp.erased_now where they are whole strings of JSON.
create or replace function private.rename_quoted(value text) returns text
language plpgsql stable set search_path = '' as $$
declare
    one record;
begin
    for one in select n.plain, n.token from pg_temp.erased_now n where n.scope = 'site' and length(n.plain) >= 8 loop
        value := replace(value, to_json(one.plain)::text, to_json(one.token)::text);
    end loop;
    return value;
end $$;

-- What was set aside and speaks of the person is emptied; the digest stays, so that it is known when it comes again. It waits on, or
-- keeps its hour failed, as before. The ledger quotes reasons.
create or replace function private.erase_quarantined(organization uuid) returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
declare
    changed bigint;
begin
    drop table if exists pg_temp.erased_records;
    create temp table erased_records on commit drop as
    select q.id, q.reason as old_reason, k.token,
           format('%s: %s %s that speaks of somebody who was erased', q.stream,
                  case q.level when 'event' then 'an' else 'a' end, q.level) as new_reason
    from public.quarantine q
    cross join lateral (
        select case q.stream when 'customers' then private.erased_token(organization, q.data_source_id::text, q.record_key) end as token) k
    where q.organization_id = organization
      and (q.content is not null and private.speaks_of_erased(organization, q.data_source_id, q.stream, q.content) or k.token is not null
           or private.hide_erased(organization, concat_ws(' ', q.reason, q.field, q.record_key)) <> concat_ws(' ', q.reason, q.field, q.record_key));
    update public.partition_ledger l set error = replace(l.error, r.old_reason, r.new_reason)
    from pg_temp.erased_records r
    where l.organization_id = organization and l.error is not null and position(r.old_reason in l.error) > 0;
    update public.quarantine q
    set content = null, reason = r.new_reason, field = null,
        record_key = coalesce(r.token, private.hide_erased(organization, q.record_key))
    from pg_temp.erased_records r
    where q.organization_id = organization and q.id = r.id
      and (q.content is not null or q.reason <> r.new_reason or q.field is not null or r.token is not null);
    get diagnostics changed = row_count;
    return changed;
end $$;

-- Whether somebody of these ids or addresses was erased before.
create or replace function private.was_erased(organization uuid, given_ids text[], given_hashes bytea[]) returns boolean
language sql stable set search_path = '' as $$
    select exists (select from unnest(given_ids) g (id) where private.erased_token(organization, 'site', g.id) is not null)
        or exists (select from unnest(given_hashes) g (hash)
                   where private.erased_token(organization, 'email', encode(g.hash, 'hex')) is not null)
$$;

-- The end: what the person was called is forgotten. Returns the rows that were changed, by table; where there were none, nothing of
-- it stays.
create or replace function private.finish_erasure(organization uuid, erasure uuid)
returns table (place text, changed bigint)
language plpgsql set search_path = '' as $$
begin
    update public.erased_ids e set scope = null, plain = null where e.organization_id = organization and e.plain is not null;
    update public.erasures e set finished_at = clock_timestamp() where e.organization_id = organization and e.id = erasure;
    return query
    with nothing as (
        delete from public.erasures e where e.organization_id = organization and e.id = erasure and e.counts = '{}' returning e.id
    ), unknown as (
        delete from public.erased_ids i using nothing n where i.organization_id = organization and i.erasure = n.id
    )
    select k.key, k.value::bigint from public.erasures e cross join lateral jsonb_each_text(e.counts) k
    where e.organization_id = organization and e.id = erasure order by 1;
end $$;
