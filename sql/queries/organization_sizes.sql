select o.slug as organization, s.total, count(*) over () as organizations
from private.organization_sizes() s
join public.organizations o on o.id = s.organization_id
where %(slug)s::text is null or o.slug = %(slug)s
order by s.total desc, o.slug
