-- Organisations with sessions active in the last 30 minutes.
select o.slug as organization, count(*) as active_sessions, count(distinct s.visitor_id) as visitors,
       count(distinct s.user_id) as known_users, to_char(max(s.last_activity) at time zone 'UTC', 'HH24:MI:SS') as last_activity
from public.live_sessions s
join public.organizations o on o.id = s.organization_id
where s.is_active and s.last_activity > now() - interval '30 minutes'
group by 1
order by 2 desc, 1
limit %(most)s
