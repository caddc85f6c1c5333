select m.user_id::text as user_id, m.role::text as role, m.created_at
from public.organization_members m
where m.organization_id = %(organization_id)s
order by array_position(private.member_roles(), m.role::text), m.created_at, 1
