"""What changes at a vendor behind one's back: orders deleted for good, another time zone, tokens that rotate."""

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from analytics_assets.sandbox import google_reports, hours, shopify_access, store_state, traffic
from analytics_assets.sandbox.connect import organization_id, source_id
from analytics_assets.sandbox.world import SandboxOrganization
from analytics_assets.sources.secrets import SecretBox
from analytics_assets_tests.sources.live import Connection, Live, live


def _forget_days() -> None:
    """Days once reckoned are kept, by truth and server alike: no organisation of the world ever moves by itself."""
    for function in [*vars(traffic).values(), *vars(google_reports).values(), *vars(hours).values()]:
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def _night(world: Live) -> None:
    world.rows("update public.data_sources set reread_due_at = now(), next_sync_at = now() returning 1")


def test_orders_deleted_for_good_count_no_more(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rare by nature; made common for shops of a size that no other test has.
    monkeypatch.setattr(store_state, "_DELETED", 0.1)
    with live(connection, monkeypatch, 2, 5, orders_per_day=17, vendors=("woocommerce",)) as world:
        world.sync()
        world.compute()
        assert not world.compare(channels=["woocommerce"]).differences[:5]
        before = {row["order_id"] for row in world.rows("select order_id from public.orders")}
        # Nothing happens at the shops but the passing of time: what is placed after is not read.
        world.sandbox.clock.set(world.now + timedelta(days=8))
        _night(world)
        assert world.sync().outcomes == {"completed": 2}
        world.compute()
        assert not world.compare(channels=["woocommerce"]).differences[:5]
        deleted = world.rows("select order_id, is_counted from public.orders where status = 'deleted'")
        assert deleted and {row["order_id"] for row in deleted} & before and not any(row["is_counted"] for row in deleted)
        # A page that was read before the deletion brings none of them back.
        state = world.state()
        _night(world)
        world.sync()
        world.compute()
        assert world.state() == state


def test_another_time_zone_at_the_vendor_moves_every_hour(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with live(connection, monkeypatch, 2, 6, vendors=("google_analytics",), late=False) as world:
        world.sync()
        world.compute()
        assert not world.compare(channels=["google_analytics"]).differences[:5]
        monkeypatch.setattr(SandboxOrganization, "property_zone", "Asia/Kathmandu")
        _forget_days()
        request.addfinalizer(_forget_days)
        world.due()
        # Due once more at once, not at night: every hour begins at another moment now.
        assert world.sync().outcomes == {"completed": 4}
        log = world.rows("select metadata from public.sync_logs where metadata ? 'flags'")
        assert any(flag.startswith("time_zone_changed:") for row in log for flag in row["metadata"]["flags"])
        assert {row["time_zone"] for row in world.rows("select time_zone from public.data_sources")} == {"Asia/Kathmandu"}
        world.compute()
        assert not world.compare(channels=["google_analytics"]).differences[:5]
        assert {
            row["minute"]
            for row in world.rows("select distinct extract(minute from bucket_at)::int as minute from public.metric_observations")
        } == {15}


def test_rotated_tokens_are_kept_sealed_before_they_are_used(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(connection, monkeypatch, 3, 3, orders_per_day=5, vendors=("shopify",)) as world:
        box = SecretBox.load()
        for one in world.world.organizations:
            owner, identifier = organization_id(one), source_id(one, "shopify")
            secrets = {
                "access_token": shopify_access.access_token(one),
                "refresh_token": shopify_access.refresh_token(one),
                "expires_at": "2026-01-01T00:00:00+00:00",
            }
            connection.execute(
                "update public.data_sources set connection_config = jsonb_set(connection_config, '{$secrets}', %s) where id = %s",
                (Jsonb(box.seal(owner, identifier, secrets)), identifier),
            )
        connection.commit()
        seen: list[set[str]] = []
        for _ in range(3):
            world.due()
            assert world.sync().outcomes == {"completed": 3}
            opened = [
                box.open(row["organization_id"], row["id"], row["connection_config"]["$secrets"])
                for row in world.rows("select organization_id, id, connection_config from public.data_sources")
            ]
            seen.append({secrets["refresh_token"] for secrets in opened})
            # The access token ends.
            for row in world.rows("select organization_id, id, connection_config from public.data_sources"):
                secrets = dict(box.open(row["organization_id"], row["id"], row["connection_config"]["$secrets"]))
                secrets["expires_at"] = "2026-01-01T00:00:00+00:00"
                connection.execute(
                    "update public.data_sources set connection_config = jsonb_set(connection_config, '{$secrets}', %s) where id = %s",
                    (Jsonb(box.seal(row["organization_id"], row["id"], secrets)), row["id"]),
                )
            connection.commit()
        assert all(len(tokens) == 3 for tokens in seen) and len(set().union(*seen)) == 9, "every refresh gave new ones"
        assert world.sandbox.counts["shopify_token:requests"] >= 9
        world.compute()
        assert not world.compare(channels=["shopify"]).differences[:5]
