"""`analytics insights` as an operator meets it."""

from analytics_assets_tests.insights.shops import HOURS, add_shop, drop
from analytics_assets_tests.insights.test_graph import FIRST, compute
from analytics_assets_tests.test_cli import done, misused, refused
from analytics_assets_tests.woocommerce import Connection

ACME = ("insights", "--organization", "acme")


def test_an_insight_is_listed_read_and_dismissed(connection: Connection) -> None:
    acme = add_shop(connection, "acme", 1, drop(FIRST, FIRST + 7), "Asia/Kolkata")
    add_shop(connection, "bolt", 2)
    assert "nothing departs from the usual course of acme" in done(*ACME)
    compute(connection, [acme], FIRST, HOURS - 1)
    (row,) = connection.execute("select id, title from ai_insights").fetchall()
    connection.rollback()
    listed = done(*ACME)
    assert row["title"] in listed and str(row["id"])[:8] in listed and "Asia/Kolkata" in listed and "- Place an order" in listed
    assert "nothing departs" in done("insights", "--organization", "bolt", "--all")

    assert f"read: {row['title']}" in done(*ACME, "--read", str(row["id"])[:8].upper())
    assert "--all shows what was read" in done(*ACME)
    assert ", read, confidence" in done(*ACME, "--all")
    assert f"dismissed: {row['title']}" in done(*ACME, "--dismiss", str(row["id"]))
    assert "dismissed, read, confidence" in done(*ACME, "--all")
    (found,) = connection.execute("select is_read, is_dismissed, dismissed_at <= now() as noted from ai_insights").fetchall()
    connection.rollback()
    assert found == {"is_read": True, "is_dismissed": True, "noted": True}


def test_what_cannot_be_done_is_said(connection: Connection) -> None:
    refused("no organisation", "insights", "--organization", "nobody")
    add_shop(connection, "acme", 1)
    refused("no insight of acme begins with 'ffff'", *ACME, "--read", "ffff")
    refused("no insight of acme begins with ''", *ACME, "--dismiss", "")
    misused("expected one of --read ID and --dismiss ID", *ACME, "--read", "a", "--dismiss", "b")
