-- Who belongs to which organisation, for policies: a copy of organization_members that triggers keep.
--
-- Policies ask for the organisations of whoever sends a request. A function with its owner's rights that every signed-in user may
-- call did it, and read organization_members past its policies. A table in which each user sees the own rows needs no such function.
create table private.memberships (
    organization_id uuid not null,
    user_id uuid not null,
    role text not null,
    primary key (organization_id, user_id, role)
);
create index memberships_user_idx on private.memberships (user_id) include (organization_id, role);
alter table private.memberships enable row level security;
comment on table private.memberships is
    'Grain: a user with a role in an organisation, as organization_members has it. Written by its triggers alone.';
