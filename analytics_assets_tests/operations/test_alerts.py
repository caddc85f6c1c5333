"""Alerts to operators: opened after so many failures, resolved by themselves, told at least once, never the address."""

import asyncio
import logging
from collections.abc import Iterator

import dagster as dg
import pytest

from analytics_assets.operations.notifier import deliver
from analytics_assets.resources import Database
from analytics_assets.settings import AlertSettings, SettingError
from analytics_assets.sql import query
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.sources.live import Connection, Live, live
from analytics_assets_tests.webhook_receiver import Receiver, receiving

SECRET = "T0SECRETxB0SECRETxPATH"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv("ANALYTICS_ALERT_WEBHOOK_URL", f"{found.url}/webhook/{SECRET}?token={SECRET}")
        monkeypatch.setenv("ANALYTICS_ALERT_SLACK_URL", f"{found.url}/slack/{SECRET}")
        yield found


def _alerts(receiver: Receiver) -> list[tuple[str, str, str]]:
    return [alert for call in receiver.told("reason") for alert in call]


def _rows(connection: Connection, statement: str) -> list[dict[str, object]]:
    found = connection.execute(statement).fetchall()
    connection.commit()
    return found


def _tick(instance: dg.DagsterInstance) -> str:
    """One evaluation of the sensor; what it says."""
    from analytics_assets.definitions import defs

    context = dg.build_sensor_context(
        instance=instance, resources={"database": Database()}, repository_def=defs.get_repository_def()
    )
    result = defs.resolve_sensor_def("operator_alerts").evaluate_tick(context)
    assert not result.run_requests
    return result.skip_message or ""


def _sync(world: Live) -> None:
    """A pass of the engine that asks a vendor again without the seconds of patience that one deserves."""
    asyncio.run(world.engine(http_options={"patience": 0.1}).run())


def _due(connection: Connection) -> None:
    connection.execute("update public.operator_notices set next_attempt_at = now() where delivered_at is null")
    connection.commit()


def test_a_source_that_breaks_and_recovers_is_told_once_each(
    connection: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setenv("ANALYTICS_ALERT_AFTER_FAILURES", "2")
    with live(connection, monkeypatch, 2, 2, orders_per_day=2, vendors=("meta_ads", "woocommerce")) as world:
        _sync(world)
        broken = ("sandbox-0002", "failing", "open")
        world.fault("html", account="sandbox-0002", vendor="woocommerce")
        for round_ in (1, 2):
            assert _alerts(receiver) == [], "not before the second failure in a row"
            world.due()
            _sync(world)
            assert [
                row["failures"] for row in _rows(connection, "select max(failures) as failures from public.data_sources")
            ] == [round_]
            said = _tick(instance)
        assert "1 alerts opened" in said and _alerts(receiver) == [broken]
        world.due()
        _sync(world)
        _tick(instance)
        assert _alerts(receiver) == [broken], "it goes on: nothing is told anew"

        # Another breaks for good: told at once, since nobody tries it again.
        world.fault("revoked", account="sandbox-0001", vendor="meta_ads")
        world.due()
        _sync(world)
        _tick(instance)
        assert _alerts(receiver)[1:] == [("sandbox-0001", "stopped", "open")]
        slack = [body for path, body in receiver.bodies if "slack" in path]
        assert "analytics sources authorize --organization sandbox-0001 --type meta_ads" in str(slack[-1]["blocks"])
        assert slack[-1]["text"] == "analytics: 1 alerts opened, 0 resolved"

        world.sandbox.faults.clear()
        assert world.resume() == 1
        world.due()
        _sync(world)
        assert "2 resolved" in _tick(instance)
        assert sorted(_alerts(receiver)[2:]) == [("sandbox-0001", "stopped", "resolved"), ("sandbox-0002", "failing", "resolved")]
        assert "0 alerts opened, 0 resolved; 0 notices" in _tick(instance)
        assert len(_rows(connection, "select from public.operator_alerts where resolved_at is not null")) == 2


@pytest.fixture
def shop(connection: Connection) -> Connection:
    """A shop that nobody syncs, though it is due for hours."""
    connection.execute("insert into public.organizations (slug) values ('acme')")
    connection.execute(
        """insert into public.data_sources (organization_id, source_type, source_name, connection_config, time_zone, currency,
               last_sync_at, next_sync_at)
           select id, 'shopify', '<shop>', '{"$secrets": {"$enc": "v1", "kid": "k", "ct": "gAAAAA"}}', 'UTC', 'EUR',
                  now() - interval '3 hours', now() - interval '2 hours' from public.organizations"""
    )
    connection.commit()
    return connection


def test_what_cannot_be_told_is_told_later_and_the_address_never(
    shop: Connection, instance: dg.DagsterInstance, receiver: Receiver, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    for refusals, problem in (([500] * 4, "500"), ([404, 404], "404"), ([0] * 4, "no answer"), ([302, 302], "302")):
        receiver.refusals = list(refusals)
        _due(shop)
        assert "0 notices delivered" in _tick(instance)
        assert not receiver.refusals and not receiver.bodies
        errors = _rows(shop, "select distinct error from public.operator_notices")
        assert len(errors) == 1 and problem in str(errors[0]["error"])
    assert "0 notices delivered" in _tick(instance), "its pause is not over"
    assert "1 alerts open, 2 notices not delivered yet (the receiver answered 302)" in analytics("status").stdout
    # A try that fails and one that does not, within one call.
    receiver.refusals = [503]
    _due(shop)
    assert "2 notices delivered" in _tick(instance)
    assert _alerts(receiver) == [("acme", "late", "open")]
    assert "&lt;shop&gt;" in str(next(body for path, body in receiver.bodies if "slack" in path))
    assert _rows(shop, "select attempts, error from public.operator_notices") == [{"attempts": 5, "error": None}] * 2
    everything = str(_rows(shop, "select to_jsonb(n) from public.operator_notices n")) + caplog.text + "".join(capfd.readouterr())
    assert "alerts could not be told by webhook" in everything, "what is searched holds what was said"
    assert SECRET not in everything


def test_a_crash_at_any_point_loses_no_notice(shop: Connection, receiver: Receiver) -> None:
    settings, database = AlertSettings.load(), Database()
    parameters = {"threshold": 3, "channels": list(settings.channels)}
    # It dies before the alert is committed: nothing is there; afterwards, one is, however often it is asked for.
    shop.execute(query("sync_operator_alerts"), parameters)
    shop.rollback()
    assert [database.rows(query("sync_operator_alerts"), parameters)[0]["opened"] for _ in range(3)] == [1, 0, 0]
    # It dies after the claim: nobody has it for a minute, then it is due again.
    assert len(database.rows(query("claim_operator_notices"), {"channel": "webhook", "most": 9})) == 1
    assert deliver(database, settings).delivered == 1, "Slack's alone"
    assert not _alerts(receiver)
    # The source comes right meanwhile: both states are told, in their order.
    shop.execute("update public.data_sources set last_sync_at = now(), next_sync_at = now() + interval '15 minutes'")
    shop.commit()
    assert database.rows(query("sync_operator_alerts"), parameters)[0]["resolved"] == 1
    assert deliver(database, settings).delivered == 1, "Slack's alone: the webhook's waits for the alert's own notice"
    _due(shop)
    deliver(database, settings)
    assert _alerts(receiver) == [("acme", "late", "open"), ("acme", "late", "resolved")]
    # It dies after the answer and before its note: told once more.
    shop.execute("update public.operator_notices set delivered_at = null where state = 'resolved' and channel = 'webhook'")
    _due(shop)
    deliver(database, settings)
    assert _alerts(receiver)[2:] == [("acme", "late", "resolved")]


def test_an_outage_of_all_is_some_calls(shop: Connection, receiver: Receiver) -> None:
    shop.execute("insert into public.organizations (slug) select 'shop-' || i from generate_series(1, 90) i")
    shop.execute(
        """insert into public.data_sources (organization_id, source_type, source_name, connection_config, time_zone, currency,
               next_sync_at) select o.id, 'shopify', o.slug, s.connection_config, 'UTC', 'EUR', s.next_sync_at
           from public.organizations o, public.data_sources s where o.slug <> 'acme'"""
    )
    shop.execute("update public.data_sources set is_active = false where source_name = 'shop-1'")
    shop.commit()
    settings, database = AlertSettings.load(), Database()
    changed = database.rows(query("sync_operator_alerts"), {"threshold": 3, "channels": list(settings.channels)})[0]
    assert changed == {"opened": 90, "resolved": 0}
    assert deliver(database, settings).delivered == 180
    assert len(receiver.bodies) == 6 and len(set(_alerts(receiver))) == 90
    assert max(len(body["blocks"]) for path, body in receiver.bodies if "slack" in path) <= 50


@pytest.mark.parametrize(
    "url", ["http://hooks.example/SECRETPATH", "ftp://hooks.example/SECRETPATH", "SECRETPATH", "https:///SECRETPATH"]
)
def test_an_address_that_cannot_be_is_refused_without_saying_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ANALYTICS_ALERT_SLACK_URL", url)
    with pytest.raises(SettingError, match="ANALYTICS_ALERT_SLACK_URL") as refused:
        AlertSettings.load()
    assert "SECRETPATH" not in str(refused.value)
    monkeypatch.setenv("ANALYTICS_ALERT_SLACK_URL", "https://hooks.example/SECRETPATH")
    assert "SECRETPATH" not in repr(AlertSettings.load())
    assert AlertSettings.load().after_failures == 3
    for wrong in ("0", "-1", "three", "101"):
        monkeypatch.setenv("ANALYTICS_ALERT_AFTER_FAILURES", wrong)
        with pytest.raises(SettingError, match="ANALYTICS_ALERT_AFTER_FAILURES"):
            AlertSettings.load()
