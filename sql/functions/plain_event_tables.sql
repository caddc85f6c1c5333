-- Takes the TOAST tables from the helper tables of a connection that stores events.
--
-- A table that is emptied at each commit has the index of its TOAST table made anew each time, used or not: for a dozen tables
-- that was four fifths of the time of a small commit, while the organisations' turn was held. What the helper tables hold are ids
-- of at most 255 characters; rows of them fit on a page as they are. (Those with addresses of pages keep theirs.)
create or replace function private.plain_event_tables() returns void
language plpgsql set search_path = '' set client_min_messages = warning as $$
declare
    helper record;
begin
    for helper in
        select c.relname, string_agg(format('alter column %I set storage plain', a.attname), ', ') as plain,
               min(a.attname) filter (where a.atttypid = 'text'::regtype) as any_text
        from pg_catalog.pg_class c
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attlen = -1
        where c.relnamespace = pg_my_temp_schema() and c.relkind = 'r' and c.reltoastrelid <> 0
          and c.relname in ('event_runs', 'event_links', 'event_moves', 'event_visitors', 'event_points', 'event_neighbours', 'event_parts',
                            'event_islands', 'event_removed', 'event_renamed', 'event_people', 'event_moved_days')
        group by c.relname
    loop
        execute format('alter table pg_temp.%I %s', helper.relname, helper.plain);
        -- Written anew, the table leaves a TOAST table that it does not need any more; storage is asked for again, since a
        -- type's own comes with it.
        execute format('alter table pg_temp.%I alter column %I type text using %2$I || '''', alter column %2$I set storage plain',
                       helper.relname, helper.any_text);
    end loop;
end $$;
