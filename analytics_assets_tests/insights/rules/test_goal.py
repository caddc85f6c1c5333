"""Rule goal_at_risk: forecasts that keep what they say, months by a hair, and goals read from where they are set."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from analytics_assets.insights.rules import goal
from analytics_assets.insights.rules.evidence import Daily, Evidence, Goal
from analytics_assets.insights.rules.testing import FALSE_DISCOVERIES
from analytics_assets_tests.insights.rules.days import DAYS, END, add_days, compute, midnight, on, said
from analytics_assets_tests.insights.rules.worlds import MONDAY, counts, found_on, organizations, wandering
from analytics_assets_tests.woocommerce import Connection, add_organization

# From Monday 1 June 2026: September is days 92 to 121.
_FIRST, _DAYS = 92, 30


def _shops(memory: float) -> tuple[Evidence, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Six hundred shops with goals around what the eight weeks before September let expect; whether each was reached."""
    rng, count, days = np.random.default_rng(41), 600, _FIRST + _DAYS
    values = counts(rng, count, days, rng.uniform(20, 300, count), wandering(rng, count, days, memory=memory))
    daily = [Daily(number, "woocommerce", "orders", "count") for number in range(count)]
    evidence = Evidence(organizations(count, days), MONDAY, days, daily, values)
    targets = values[:, _FIRST - 56 : _FIRST].mean(axis=1) * _DAYS * rng.uniform(0.85, 1.15, count)
    evidence.goals = [
        Goal(number, "g", "woocommerce", "orders", "count", float(target), 0) for number, target in enumerate(targets)
    ]
    return evidence, values[:, _FIRST:].sum(axis=1) >= targets


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_forecasts_keep_what_they_say(memory: float) -> None:
    """By Brier's score a quarter better than the linear pace, on days 8, 15 and 22; of the goals told of on a day a tenth is reached at most."""
    evidence, reached = _shops(memory)
    tests = goal.RULE.test(evidence)
    scores = []
    for day in (8, 15, 22):
        mine = tests.day == _FIRST + day - 1
        true = reached[tests.row[mine]].astype(float)
        pace = evidence.values[:, _FIRST : _FIRST + day].sum(axis=1) * _DAYS / day >= [one.target for one in evidence.goals]
        score, linear = ((tests.p[mine] - true) ** 2).mean(), ((pace[tests.row[mine]] - true) ** 2).mean()
        told = tests.size[mine] >= 1
        print(
            f"day {day}: {score:.3f}, linear pace {linear:.3f}; told {told.mean():.2f}, reached of them {true[told].mean():.3f}"
        )
        assert score < linear
        scores.append((score, linear))
        assert told.mean() > 0.3 and true[told].mean() <= FALSE_DISCOVERIES
    assert sum(score for score, _ in scores) <= 0.75 * sum(linear for _, linear in scores)


def _month(target: float, until: int, since: int = 0, level: float = 100.0) -> Evidence:
    """A hundred a day, known to the day of September that is named; it heads for 3,000."""
    days = _FIRST + until
    evidence = Evidence(organizations(1, days), MONDAY, days, [Daily(0, "woocommerce", "orders", "count")])
    evidence.values = np.full((1, days), level)
    evidence.goals = [Goal(0, "month", "woocommerce", "orders", "count", target, since)]
    return evidence


@pytest.mark.parametrize(
    ("evidence", "day", "told"),
    [
        (_month(3070, 20), 20, 1),
        (_month(3050, 20), 20, 0),
        (_month(2990, 20), 20, 0),
        (_month(4000, 8), 8, 1),
        (_month(4000, 7), 7, 0),
        (_month(4000, 20, since=_FIRST + 19), 20, 1),
        (_month(4000, 20, since=_FIRST + 20), 20, 0),
        (_month(4000, 30), 30, 0),
    ],
    ids=[
        "2.3 % short",
        "1.6 % short",
        "reached",
        "a quarter is over",
        "a day before it",
        "set on the day",
        "set after it",
        "nothing is left",
    ],
)
def test_goal_by_a_hair(evidence: Evidence, day: int, told: int) -> None:
    assert len(found_on(goal.RULE, evidence, _FIRST + day - 1)) == told


def test_a_goal_is_told_of_below_a_fifth_and_until_above_a_third() -> None:
    probability = np.array([0.19, 0.20, 0.35, 0.36])
    assert goal.at_risk(probability, np.zeros(4, dtype=np.bool_)).tolist() == [True, False, False, False]
    assert goal.at_risk(probability, np.ones(4, dtype=np.bool_)).tolist() == [True, True, True, False]


def test_goals_are_read_from_where_they_are_set(connection: Connection) -> None:
    """Goals of alert_rules: of metrics that can be summed, of one channel or of all."""
    acme = add_organization(connection, "acme")
    add_days(connection, acme, "woocommerce", {"net_sales": np.full(DAYS, 100.0)})
    add_days(connection, acme, "events", {"net_sales": np.full(DAYS, 50.0)})
    compute(connection, [acme], DAYS - 60, DAYS - 1)
    assert said(connection, acme) == []
    connection.execute(
        "insert into public.alert_rules (organization_id, name, channel, metric, grain, kind, threshold, clear_threshold, created_at)"
        " select %s, name, channel, metric, 'day', 'goal', goal, goal, %s from (values ('short', 'all', 'net_sales', 9000), ('one', 'woocommerce',"
        " 'net_sales', 3500), ('met', 'all', 'net_sales', 3000), ('ratio', 'all', 'aov', 9000)) v (name, channel, metric, goal)",
        (acme, midnight(on(0))),
    )
    connection.execute("select private.mark_stale('rule_insights', array[%s], array[%s])", (acme, midnight(on(DAYS - 60))))
    connection.commit()
    compute(connection, [acme], DAYS - 60, DAYS - 1)
    rows = said(connection, acme)
    assert {row["data_points"]["goal"] for row in rows} == {"short", "one"}
    short = next(row for row in rows if row["data_points"]["goal"] == "short")
    assert (
        short["insight_key"] == f"goal_at_risk|short|{short['period_start']:%Y-%m}|down"
        and short["insight_type"] == "recommendation"
    )
    days = (short["period_end"] - short["period_start"]) // timedelta(days=1)
    assert short["data_points"]["counts"][0]["value"] == 150 * days and short["period_start"].day == 1
    assert "net sales of all channels" in short["title"] and "less than 1 %" in short["description"]
    assert short["period_end"].date() <= END
