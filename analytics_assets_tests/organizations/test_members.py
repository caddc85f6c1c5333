"""Members come, change their role, and go; an organisation keeps an owner."""

import uuid

import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.database import connect
from analytics_assets.migrations import migrate
from analytics_assets.organizations import members
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets_tests.woocommerce import Connection, add_organization

ANNA, BEN = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def told(*arguments: str) -> tuple[int, str]:
    """Exit status and what was said."""
    result = CliRunner().invoke(app, ["organizations", "members", *arguments])
    return result.exit_code, result.output


def roles(connection: Connection, slug: str) -> dict[str, str]:
    """Roles by user."""
    return {row["user_id"]: row["role"] for row in members.listed(connection, slug)}


def test_members_come_and_go(connection: Connection) -> None:
    for slug in ("acme", "bolt"):
        add_organization(connection, slug)
        assert told("add", slug, ANNA, "--role", "owner") == (0, f"{ANNA} is owner of {slug}: added\n")
    assert told("add", "acme", BEN)[1].endswith("added\n")
    assert told("add", "acme", BEN)[1].endswith("unchanged\n")
    assert told("add", "acme", BEN, "--role", "viewer")[1].endswith("changed\n")
    assert roles(connection, "acme") == {ANNA: "owner", BEN: "viewer"} and roles(connection, "bolt") == {ANNA: "owner"}
    status, output = told("list", "acme")
    assert status == 0 and "2 members of acme" in output and output.index(ANNA) < output.index(BEN)
    assert told("remove", "acme", BEN)[0] == 0
    for words, arguments in {
        "is no member of 'acme'": ("remove", "acme", BEN),
        "expected owner, admin, member, viewer": ("add", "acme", BEN, "--role", "boss"),
        "expected the user's uuid": ("add", "acme", "ben"),
        "no organisation 'nobody'": ("list", "nobody"),
    }.items():
        status, output = told(*arguments)
        assert status == 1 and words in output
    assert roles(connection, "acme") == {ANNA: "owner"}


def test_the_last_owner_stays_unless_forced(connection: Connection) -> None:
    add_organization(connection, "acme")
    members.add(connection, "acme", ANNA, "owner")
    members.add(connection, "acme", BEN, "admin")
    for arguments in (("remove", "acme", ANNA), ("add", "acme", ANNA, "--role", "admin")):
        status, output = told(*arguments)
        assert status == 1 and "last owner" in output and roles(connection, "acme")[ANNA] == "owner"
        connection.commit()
    members.add(connection, "acme", BEN, "owner")
    members.remove(connection, "acme", ANNA)
    assert told("remove", "acme", BEN, "--force")[0] == 0
    assert roles(connection, "acme") == {}


@pytest.mark.usefixtures("empty_database")
def test_an_adopted_table_keeps_its_own_kinds_of_role_and_user() -> None:
    """An enum with other names, users that must exist and have text for ids, no unique key."""
    with connect() as connection:
        connection.execute("create type public.team_role as enum ('owner', 'editor')")
        connection.execute("create table public.organizations (id uuid primary key default gen_random_uuid(), name text)")
        connection.execute("create table public.people (id text primary key)")
        connection.execute("insert into public.people values (%s)", (ANNA,))
        connection.execute(
            "create table public.organization_members (organization_id uuid, user_id text references public.people, role public.team_role)"
        )
        connection.commit()
        migrate(connection)
        add_organization(connection, "acme")
        assert members.add(connection, "acme", ANNA, "editor") == "added"
        assert members.add(connection, "acme", ANNA, "owner") == "changed"
        with pytest.raises(OrganizationError, match="role 'member': expected owner, editor"):
            members.add(connection, "acme", BEN, "member")
        with pytest.raises(OrganizationError, match="Make the user first"):
            members.add(connection, "acme", BEN, "editor")
        with pytest.raises(OrganizationError, match="last owner"):
            members.remove(connection, "acme", ANNA)
        connection.execute("alter table public.organization_members add check (role <> 'editor') not valid")
        connection.commit()
        with pytest.raises(OrganizationError, match="refuses the row"):
            members.add(connection, "acme", ANNA, "editor", force=True)
        assert roles(connection, "acme") == {ANNA: "owner"}
