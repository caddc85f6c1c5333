"""From incidents of series to what an organisation is told: one for what moves together, weighed, and not too many a day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_assets.insights.baseline import DAY
from analytics_assets.insights.incidents import ALARM, Incident
from analytics_assets.insights.series import METRICS, Series

#: New anomalies that an organisation is told a day (UTC).
DAILY_BUDGET = 5
# What begins within so many hours of the first and goes the same way belongs to it.
_TOGETHER_HOURS = 6
_PLACE = {metric: place for place, metric in enumerate(METRICS)}
# (peak, share of a usual day): an insight of this severity has both.
_SEVERITIES = (("critical", 8.0, 0.25), ("high", 6.0, 0.10), ("medium", ALARM, 0.05))
# How many of the alarms of such a peak are true, measured on series with injected incidents.
_CONFIDENCE = ((12.0, 0.95), (8.0, 0.94), (6.0, 0.80), (ALARM, 0.44))
_EACH_DISMISSAL = 1.25
_MOST_DISMISSALS = 3


@dataclass(frozen=True)
class Insight:
    """Incidents that are told as one. lead: the series that gave the alarm first; it and its hour are the natural key."""

    lead: Series
    incident: Incident
    members: tuple[tuple[Series, Incident], ...]
    severity: str
    confidence: float
    share: float
    stake: float | None

    @property
    def key(self) -> str:
        """insight_key: what it is about, without when."""
        return key_of(self.lead, self.incident)


def key_of(series: Series, incident: Incident) -> str:
    """The same for a series' incident of a direction, whatever its kind turns out to be."""
    return f"anomaly|{series.channel}|{series.metric}|{'up' if incident.up else 'down'}"


def _groups(found: Sequence[tuple[Series, Incident]]) -> list[list[tuple[Series, Incident]]]:
    """In the order of their alarms; of those in the same hour the parent metric leads. What comes later changes no lead."""
    ordered = sorted(found, key=lambda one: (one[1].detected, _PLACE[one[0].metric], one[0].channel))
    groups: list[list[tuple[Series, Incident]]] = []
    for series, incident in ordered:
        for group in groups:
            first = group[0][1]
            if first.up == incident.up and incident.detected - first.detected <= _TOGETHER_HOURS:
                group.append((series, incident))
                break
        else:
            groups.append([(series, incident)])
    return groups


def _needed(series: Series, incident: Incident, start: datetime) -> float:
    """How large the peak has to be: larger for what was dismissed before this alarm."""
    at, key = (start + timedelta(hours=incident.detected)).timestamp(), key_of(series, incident)
    times = sum(1 for name, when in series.organization.dismissed if name == key and when <= at)
    return ALARM * float(_EACH_DISMISSAL ** min(times, _MOST_DISMISSALS))


def _share(incident: Incident) -> float:
    return abs(incident.actual - incident.expected) / incident.daily if incident.daily > 0 else 0.0


def weigh(group: Sequence[tuple[Series, Incident]], start: datetime) -> Insight | None:
    """Severity by size and by what is at stake beside a usual day, confidence; None: too little to be said."""
    lead, incident = group[0]
    peak = max(one.peak for _, one in group)
    if peak < _needed(lead, incident, start):
        return None
    money = [one for series, one in group if series.unit == "money"]
    share = max(_share(one) for one in [incident, *money])
    severity = next((name for name, least, part in _SEVERITIES if peak >= least and share >= part), None)
    if severity is None:
        return None
    confidence = next(value for least, value in _CONFIDENCE if peak >= least)
    if incident.bursty:
        confidence /= 2
    stake = max((abs(one.actual - one.expected) for one in money), default=None)
    return Insight(lead, incident, tuple(group), severity, round(confidence, 2), share, stake)


def insights_of(found: Sequence[tuple[Series, Incident]], start: datetime) -> list[Insight]:
    """What one organisation is told. ``start`` is the instant of hour 0, a midnight of UTC.

    Of a day the first ones are told, of an hour those with more at stake: what comes later unsays nothing.
    """
    weighed = [one for group in _groups(found) if (one := weigh(group, start)) is not None]
    weighed.sort(key=lambda one: (one.incident.detected, -one.share))
    told: dict[int, list[Insight]] = defaultdict(list)
    for one in weighed:
        day = told[one.incident.detected // DAY]
        if len(day) < DAILY_BUDGET:
            day.append(one)
    return [one for day in told.values() for one in day]
