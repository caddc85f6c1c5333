-- Puts this connection's rights down to those of a role, where its login may take it on; before `analytics migrate` there is none.
select set_config('role', r.rolname, false)
from pg_catalog.pg_roles r
where r.rolname = %(role)s
  and pg_catalog.pg_has_role(session_user, r.oid, case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end)
