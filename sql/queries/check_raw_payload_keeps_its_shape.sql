-- Fields of the range's newest page of each stream beside those of up to four pages before it: one that stood in every record and
-- stands in none, one of another type. Two levels: record, what an object or a list within it holds.
--
-- Twenty organisations are looked at in each run; of more, each once in 24 hours, by the hour at which the range ends: unpacking
-- pages of a thousand organisations takes longer than all else of a tick. No value is shown: it may be somebody's.
with everybody as materialized (
    select id, slug from public.organizations where %(keys)s::text[] is null or partition_key = any (%(keys)s)
), tenants as materialized (
    select id, slug from everybody
    where (select count(*) from everybody) <= 20
       or (hashtext(id::text) & 65535) %% 24 = extract(hour from %(end)s::timestamptz at time zone 'UTC')
), newest as materialized (
    select distinct on (p.organization_id, p.data_source_id, p.stream)
           p.organization_id, p.data_source_id, p.stream, p.fetched_at, p.id
    from tenants t
    join public.raw_data_backup p on p.organization_id = t.id and p.source = %(source)s
    where p.window_start < %(end)s and p.window_end >= %(start)s
    order by p.organization_id, p.data_source_id, p.stream, p.fetched_at desc
), pages as materialized (
    -- Number 0 is the newest, 1 the one before it.
    select n.id as newest_id, n.stream, e.number, e.page
    from newest n
    cross join lateral (
        (select 0 as number, p.raw_data as page from public.raw_data_backup p
         where p.organization_id = n.organization_id and p.source = %(source)s and p.stream = n.stream and p.fetched_at = n.fetched_at
           and p.id = n.id)
        union all
        (select row_number() over (order by p.fetched_at desc), p.raw_data
         from public.raw_data_backup p
         where p.organization_id = n.organization_id and p.source = %(source)s and p.stream = n.stream
           and p.data_source_id = n.data_source_id and p.fetched_at < n.fetched_at and p.fetched_at > n.fetched_at - interval '14 days'
         order by p.fetched_at desc limit 4)
    ) e
), recent as materialized (
    select p.newest_id, p.number, s.*
    from pages p cross join lateral private.payload_shape(%(source)s, p.stream, p.page) s
    where p.number <= 1
), doubtful as materialized (
    -- Where the page before has the same fields in the same types, no older page can make any of them gone or changed: only the
    -- others are unpacked.
    select distinct k.newest_id
    from (
        -- Something that only the newest page has, a holder too: of another type, perhaps.
        (select r.newest_id, r.within, r.field, r.type from recent r where r.number = 0 and r.type <> 'null'
         except
         select r.newest_id, r.within, r.field, r.type from recent r where r.number = 1)
        union all
        -- Something that only the page before has, where the newest has what could hold it: gone, perhaps.
        (select r.newest_id, r.within, r.field, null
         from recent r
         where r.number = 1 and (r.newest_id, r.within) in (select h.newest_id, h.within from recent h where h.number = 0)
         except
         select r.newest_id, r.within, r.field, null from recent r where r.number = 0)
    ) k
), shapes as materialized (
    select r.newest_id, r.number, r.within, r.field, r.type, r.times, r.example
    from recent r where r.newest_id in (select d.newest_id from doubtful d)
    union all
    select p.newest_id, p.number, s.*
    from pages p
    cross join lateral private.payload_shape(%(source)s, p.stream, p.page) s
    where p.number > 1 and p.newest_id in (select d.newest_id from doubtful d)
), held as (
    select newest_id, within, sum(times) filter (where number = 0) as new_holders, sum(times) filter (where number > 0) as old_holders
    from shapes where type = 'holder' group by 1, 2
), fields as (
    select s.newest_id, s.within, s.field,
           coalesce(sum(s.times) filter (where s.number = 0), 0) as new_times, coalesce(sum(s.times) filter (where s.number > 0), 0) as old_times,
           array_agg(distinct s.type) filter (where s.number = 0 and s.type <> 'null') as new_types,
           array_agg(distinct s.type) filter (where s.number > 0 and s.type <> 'null') as old_types,
           min(s.example) filter (where s.number = 0) as example
    from shapes s where s.type <> 'holder' group by 1, 2, 3
), changed as (
    select f.newest_id, f.within || f.field as field, f.example,
           case when f.new_times = 0 then 'is gone' else format('was %%s, is %%s', array_to_string(f.old_types, ' or '), array_to_string(f.new_types, ' or '))
           end as what
    from fields f
    join held h on h.newest_id = f.newest_id and h.within = f.within
    -- (Of a report the page is the record.)
    cross join lateral (select case %(source)s when 'google_analytics' then 1 else 3 end as enough) e
    where h.new_holders >= 1 and h.old_holders >= e.enough
      and (f.new_times = 0 and f.old_times = h.old_holders
           or f.old_times >= e.enough and not f.new_types <@ f.old_types)
)
select t.slug as organization, n.fetched_at as at,
       format('%%s %%s %%s (page %%s%%s)', n.stream, c.field, c.what, n.id, coalesce(', for example of ' || c.example, '')) as problem,
       count(*) over () as found
from changed c
join newest n on n.id = c.newest_id
join tenants t on t.id = n.organization_id
order by 2, 1, 3
limit %(most)s
