-- Sessions active at each ten minutes of the last 24 hours, of the organisations with the most of them: those that began before
-- and had not been without activity for 30 minutes. One pass over begins and ends.
with recent as materialized (
    select s.organization_id, s.started_at, s.last_activity + interval '30 minutes' as ended_at
    from public.visitor_sessions s
    where s.started_at > now() - interval '2 days' and s.started_at <= now()
), chosen as (
    select r.organization_id from recent r
    where r.ended_at > now() - interval '1 day'
    group by 1 order by count(*) desc, 1 limit %(most)s
), steps as (
    select r.organization_id, date_bin('10 minutes', c.at, timestamptz '2000-01-01 00:00+00') + interval '10 minutes' as at,
           sum(c.change) as change
    from recent r
    join chosen using (organization_id)
    cross join lateral (values (r.started_at, 1), (r.ended_at, -1)) c (at, change)
    group by 1, 2
), points as (
    select c.organization_id, g.at, 0 as change
    from chosen c
    cross join generate_series(date_bin('10 minutes', now() - interval '1 day', timestamptz '2000-01-01 00:00+00'), now(),
                               interval '10 minutes') as g (at)
)
select o.slug as organization, k.at, k.active as value
from (
    select p.organization_id, p.at, sum(sum(p.change)) over (partition by p.organization_id order by p.at) as active
    from (select * from steps union all select * from points) p
    group by 1, 2
) k
join public.organizations o on o.id = k.organization_id
where k.at > now() - interval '1 day' and k.at <= now()
order by k.at, o.slug
