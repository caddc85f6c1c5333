"""funnel_analysis has no foreign key: its triggers keep what one would keep."""

from uuid import UUID, uuid4

import psycopg
import pytest

from analytics_assets.database import connect
from analytics_assets_tests.woocommerce import Connection, add_organization

ROWS = """
insert into funnel_analysis (organization_id, funnel_name, date, step_order, step_name, visitors, conversions)
select i.id, 'f', '2026-03-02', s.step, 's', 1, 1 from unnest(%s::uuid[]) as i (id) cross join generate_series(1, 3) as s (step)
"""


def _left(connection: Connection) -> dict[UUID, int]:
    rows = connection.execute("select organization_id, count(*) as rows from funnel_analysis group by 1").fetchall()
    return {row["organization_id"]: row["rows"] for row in rows}


def test_a_statement_with_one_unknown_organisation_adds_nothing(connection: Connection) -> None:
    known, unknown = add_organization(connection, "acme"), uuid4()
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=str(unknown)) as refusal, connection.transaction():
        connection.execute(ROWS, ([known, unknown],))
    assert refusal.value.diag.column_name == "organization_id"
    assert "analytics organizations add" in (refusal.value.diag.message_hint or "")
    connection.execute(ROWS, ([known],))
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=str(unknown)), connection.transaction():
        connection.execute("update funnel_analysis set organization_id = %s", (unknown,))
    assert _left(connection) == {known: 3}
    connection.execute(ROWS, ([],))


def test_an_organisation_takes_its_rows_with_it(connection: Connection) -> None:
    """And nobody else's."""
    gone, too, stays = (add_organization(connection, slug) for slug in ("gone", "too", "stays"))
    connection.execute(ROWS, ([gone, too, stays],))
    connection.execute("delete from organizations where id = any (%s)", ([gone, too],))
    assert _left(connection) == {stays: 3}


def test_neither_order_of_adding_and_deleting_leaves_orphans(connection: Connection) -> None:
    """Whoever comes second waits for the first, and sees what it did."""
    organization = add_organization(connection, "acme")
    connection.commit()
    with connect() as other:
        other.execute("set lock_timeout = '50ms'")
        connection.execute(ROWS, ([organization],))
        with pytest.raises(psycopg.errors.LockNotAvailable), other.transaction():
            other.execute("delete from organizations where id = %s", (organization,))
        connection.commit()
        other.execute("delete from organizations where id = %s", (organization,))
        connection.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable), connection.transaction():
            connection.execute(ROWS, ([organization],))
        other.commit()
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
        connection.execute(ROWS, ([organization],))
    assert _left(connection) == {}
