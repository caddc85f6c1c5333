select o.slug as organization, k.id, k.name, k.hint, k.created_at, k.revoked_at
from public.event_keys k
join public.organizations o on o.id = k.organization_id
where %(slug)s::text is null or o.slug = %(slug)s
order by o.slug, k.created_at, k.id
