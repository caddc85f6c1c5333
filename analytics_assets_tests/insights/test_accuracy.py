"""The benchmark of accuracy judges as it says: by hand on a few alerts, and on a small world beside a peer."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.insights_accuracy import ours
from benchmarks.insights_peers import MODIFIED_Z, median_mad
from benchmarks.insights_scoring import Alert, accuracy, alerts_of, tally
from benchmarks.insights_world import DAY, HOURS, KINDS, LEAD, ROWS, WEEK, Incident, build

_AT = LEAD + 100
_DROP = Incident(0, "drop", _AT, _AT + 10, False, (1, 2), material=True)
_SMALL = Incident(0, "spike", _AT + WEEK, _AT + WEEK + 3, True, (5,), material=False)


@pytest.mark.parametrize(
    ("alert", "told", "false"),
    [
        (Alert(0, _AT, False, (2, 9)), 1, 0),
        (Alert(0, _AT + 10 + DAY - 1, False, (1,)), 1, 0),
        (Alert(0, _AT - 1, False, (1,)), 0, 1),
        (Alert(0, _AT + 10 + DAY, False, (1,)), 0, 1),
        (Alert(0, _AT, True, (1,)), 0, 1),
        (Alert(0, _AT, False, (3,)), 0, 1),
        (Alert(0, _AT + WEEK, True, (5,)), 0, 0),
        (Alert(0, LEAD - 1, True, (5,)), 0, 0),
        (Alert(1, _AT, False, (1,)), 0, 1),
    ],
    ids=["in it", "a day after", "before", "later", "other way", "other series", "of a small one", "before all", "calm"],
)
def test_an_alert_is_judged(alert: Alert, told: int, false: int) -> None:
    tallies = tally([0, 1], [_DROP, _SMALL], [alert])
    assert sum(one.told for one in tallies) == told and sum(one.false for one in tallies) == false
    assert [one.known for one in tallies] == [1, 0]


def test_figures_of_a_tally() -> None:
    """Told twice counts once; a false alert counts in an organisation without incidents too."""
    alerts = [Alert(0, _AT + 2, False, (1,)), Alert(0, _AT + 5, False, (2,)), Alert(1, _AT, True, (4,))]
    found = accuracy(tally([0, 1], [_DROP, _SMALL], alerts))
    assert (found.precision, found.recall, found.delay, found.again) == (0.5, 1.0, 3, 1.0)
    assert found.f1 == pytest.approx(2 / 3) and found.false_a_week == pytest.approx(1 / 26)


def test_hours_and_series_of_a_peer_are_put_together() -> None:
    z = np.zeros((2 * ROWS, HOURS))
    for row, hour in ((3, 900), (3, 905), (4, 906), (5, 907), (3, 912), (ROWS, 900)):
        z[row, hour] = 5.0
    z[6, 900] = -5.0
    found = sorted((one.organization, one.told, one.up, one.rows) for one in alerts_of(z, 3.0, [7, 8]))
    assert found == [(7, 900, False, (6,)), (7, 900, True, (3, 4)), (7, 907, True, (5, 3)), (8, 900, True, (0,))]


def test_a_small_world_is_judged() -> None:
    """Four organisations of either kind: goals with a wide margin for so few, the benchmark has the figures."""
    world = build(3, 4)
    assert {one.kind for one in world.incidents} <= set(KINDS) and len(world.incidents) >= 60
    assert np.array_equal(build(3, 1).values[:ROWS], world.values[:ROWS])
    everybody = range(8)
    mine = accuracy(tally(everybody, world.incidents, ours(world)[0]))
    theirs = accuracy(tally(everybody, world.incidents, alerts_of(median_mad(world.values)[0], MODIFIED_Z, everybody)))
    assert mine.false_a_week <= 1 and mine.recall >= 0.4
    assert mine.f1 >= 3 * theirs.f1 > 0
