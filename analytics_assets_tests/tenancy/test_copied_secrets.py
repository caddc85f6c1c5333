"""A copy of another organisation's sealed secret opens nowhere on the way that a sync takes."""

import pytest

from analytics_assets_tests.sources.live import live
from analytics_assets_tests.tenancy.callers import Connection, rows


@pytest.mark.parametrize("same_id", [False, True], ids=["into a source", "with the source's id"])
def test_a_sync_with_a_copied_secret_asks_the_vendor_for_nothing(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, same_id: bool
) -> None:
    """Whoever can write the table, be it a whole row with its id, cannot read another organisation's shop into the own rows."""
    with live(connection, monkeypatch, 2, 2, vendors=("woocommerce",), orders_per_day=5) as world:
        thief, owner = world.ids
        if same_id:
            rows(connection, "delete from public.data_sources where organization_id = %s", thief)
            rows(
                connection,
                "insert into public.data_sources (organization_id, id, source_type, source_name, time_zone, currency, connection_config)"
                " select %s, id, source_type, source_name, time_zone, currency, connection_config from public.data_sources"
                " where organization_id = %s", thief, owner,
            )  # fmt: skip
        else:
            rows(
                connection,
                "update public.data_sources t set connection_config = o.connection_config from public.data_sources o"
                " where t.organization_id = %s and o.organization_id = %s", thief, owner,
            )  # fmt: skip
        connection.commit()
        report = world.sync()
        assert report.outcomes == {"completed": 1, "configuration": 1}, report.failures
        world.compute()
        (failed,) = world.rows("select last_error, failure_kind from public.data_sources where organization_id = %s", thief)
        assert "belong to another source" in failed["last_error"] and "analytics sources authorize" in failed["last_error"]
        assert world.rows("select count(*) as n from public.raw_data_backup where organization_id = %s", thief) == [{"n": 0}]
        found = world.rows("select organization_id, count(*) > 0 as some from public.orders group by 1")
        assert found == [{"organization_id": owner, "some": True}]
