select o.slug as organization, r.layer, r.keep_days, r.updated_at
from public.organization_retention r
join public.organizations o on o.id = r.organization_id
where r.keep_days < 36500
order by o.slug, r.layer
