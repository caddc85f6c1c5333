select o.slug as organization, d.deleted
from private.delete_past_retention(%(layer)s, %(default_days)s, %(most)s) d
join public.organizations o on o.id = d.organization_id
order by o.slug
