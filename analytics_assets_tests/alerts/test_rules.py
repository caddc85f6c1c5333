"""Rules as they are typed: what is refused names field and value; what is stored comes back as it was said."""

from decimal import Decimal
from typing import Any

import pytest

from analytics_assets.alerts import registry
from analytics_assets.alerts.rules import RuleError, make_rule
from analytics_assets_tests.alerts.world import START_OF_RULES, add_rule, alerts, evaluate, put_hours, series
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.woocommerce import Connection, add_organization

ACME = ("--organization", "acme")
FEW = (*ACME, "--name", "few orders", "--channel", "woocommerce", "--metric", "orders")

_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "--name '': expected 1 to 100 characters"),
    ({"name": "a\nb"}, "--name 'a\\nb'"),
    ({"channel": "radio"}, "--channel 'radio': expected one of google_analytics, meta_ads, woocommerce, shopify, events or all"),
    ({"metric": "order"}, "--metric 'order': not in the catalogue; near it: "),
    ({"metric": "active_sessions_now"}, "--metric active_sessions_now: says what is at the moment"),
    ({"metric": "users_active"}, "--metric users_active: is known by the day only; add --grain day"),
    ({"metric": "roas"}, "--metric roas: is known by the day only"),
    ({"metric": "users_active", "channel": "all", "grain": "day"}, "--channel all: users_active does not add up over channels"),
    ({"metric": "frequency", "channel": "all", "grain": "day"}, "--channel all: frequency does not add up"),
    ({"grain": "week"}, "--grain 'week': expected hour or day"),
    ({"below": None}, "expected one of --above, --below, --change, --goal, not 0 of them"),
    ({"above": "3"}, "not 2 of them"),
    ({"below": "ten"}, "--below 'ten': expected a number"),
    ({"below": "NaN"}, "--below 'NaN': expected a number"),
    ({"below": None, "change": "0"}, "--change 0: expected a rise"),
    ({"below": None, "change": "-100"}, "--change -100: nothing falls by more"),
    ({"below": None, "goal": "100", "grain": "hour"}, "--grain hour: a goal is of the month"),
    ({"below": None, "goal": "-1"}, "--goal -1: expected more than 0"),
    ({"below": None, "goal": "3", "metric": "aov"}, "--metric aov: does not add up over a month"),
    ({"clear": "9"}, "--clear 9: an alert below 10 has to clear at or above 10"),
    ({"below": None, "above": "10", "clear": "11"}, "--clear 11: an alert above 10 has to clear at or below 10"),
    ({"below": None, "change": "-30", "clear": "5"}, "--clear 5: expected between 0 and -30"),
    ({"confirm": 0}, "--confirm 0: expected 1 to 6"),
    ({"minimum": "5"}, "--minimum 5: only a ratio or a --change"),
    ({"minimum": "-1"}, "--minimum -1: expected 0 or more"),
    ({"quiet": "22-7"}, "--quiet '22-7': expected two times"),
    ({"quiet": "22:00-25:00"}, "--quiet '22:00-25:00': expected two times"),
    ({"quiet": "07:00-7:00"}, "begins when it ends"),
]


def test_what_cannot_be_is_refused_by_field_and_value(connection: Connection) -> None:
    catalogue = registry.catalogue(connection)
    for change, said in _REFUSED:
        typed = {"name": "few", "channel": "woocommerce", "metric": "orders", "grain": "", "below": "10"} | change
        limits = {kind: typed.pop(kind, None) for kind in ("above", "below", "change", "goal")}
        with pytest.raises(RuleError) as refusal:
            make_rule(limits=limits, catalogue=catalogue, **typed)
        assert said in str(refusal.value), change


@pytest.mark.parametrize(
    ("limits", "clear"),
    [
        ({"above": "100"}, "95.00"),
        ({"above": "-100"}, "-105.00"),
        ({"below": "100"}, "105.00"),
        ({"below": "0"}, "0.00"),
        ({"change": "-30"}, "-28.50"),
        ({"change": "50%"}, "47.50"),
        ({"goal": "1000"}, "1050.00"),
    ],
)
def test_an_alert_clears_five_percent_inside(connection: Connection, limits: dict[str, str | None], clear: str) -> None:
    catalogue = registry.catalogue(connection)
    rule = make_rule(name="r", channel="all", metric="orders", grain="", limits=limits, catalogue=catalogue)
    assert rule.clear_threshold == Decimal(clear)
    assert rule.minimum_base == (20 if "change" in limits else 0) and rule.grain == ("day" if "goal" in limits else "hour")


def test_the_command_line(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    organization = add_organization(connection, "acme")
    told = analytics("alerts", "list")
    assert told.returncode == 0 and "no rules yet: analytics alerts add" in told.stdout
    added = analytics("alerts", "add", *FEW, "--below", "10", "--quiet", "22:00-07:00", "--since", f"{START_OF_RULES:%Y-%m-%d}")
    assert added.returncode == 0 and "rule 'few orders' of acme added" in added.stdout, added.stderr
    assert "orders of woocommerce by hour: below 10, clears at 10.5" in added.stdout and "nobody is told yet" in added.stdout
    # Its days are open for the sensor.
    open_days = connection.execute(
        "select bucket from public.partition_ledger where asset = 'performance_alerts' and status = 'stale'"
    )
    assert START_OF_RULES in {row["bucket"] for row in open_days}
    connection.rollback()
    again = analytics("alerts", "add", *FEW, "--below", "10", "--quiet", "22:00-07:00")
    assert again.returncode == 0 and "is there already" in again.stdout
    other = analytics("alerts", "add", *FEW, "--below", "12", "--quiet", "22:00-07:00")
    assert (
        other.returncode == 2
        and "differs in threshold, clear_threshold. Remove it first: analytics alerts remove" in other.stderr
    )
    assert analytics("alerts", "add", *FEW, "--above", "ten").returncode == 2
    unknown = analytics("alerts", "add", "--organization", "nobody", *FEW[2:], "--below", "1")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr

    put_hours(connection, organization, series(START_OF_RULES, 20, 3))
    evaluate(connection, [organization], START_OF_RULES)
    listed = analytics("alerts", "list", *ACME).stdout
    since = f"{START_OF_RULES:%Y-%m-%d} 01:00"
    assert "22:00-07:00" in listed and f"active since {since}" in " ".join(listed.split())
    connection.execute("update public.performance_alerts set is_acknowledged = true")
    connection.commit()
    shown = " ".join(analytics("alerts", "show", *ACME).stdout.split())
    assert "1 active alerts of acme (UTC)" in shown and "orders of woocommerce were 3" in shown and "a service," in shown
    assert "no alert of acme" not in shown
    removed = analytics("alerts", "remove", *ACME, "--name", "few orders")
    assert removed.returncode == 0 and "removed; 1 active alert ended" in removed.stdout
    assert analytics("alerts", "remove", *ACME, "--name", "few orders").returncode == 1
    assert "no alert of acme is active" in analytics("alerts", "show", *ACME).stdout
    assert "resolved" in analytics("alerts", "show", *ACME, "--all").stdout
    assert alerts(connection, organization, "state") == [("resolved",)]


def test_rules_of_two_organisations_may_share_a_name(connection: Connection) -> None:
    for slug in ("acme", "bolt"):
        add_organization(connection, slug)
        add_rule(connection, slug)
    assert [row["organization"] for row in registry.listed(connection, None)] == ["acme", "bolt"]
