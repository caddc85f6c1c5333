select o.slug as organization, c.updated_at
from public.narrative_consents c
join public.organizations o on o.id = c.organization_id
where c.is_given
order by o.slug
