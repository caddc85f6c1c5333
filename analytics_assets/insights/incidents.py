"""From scores by hour to incidents: when one began, how far it went, when it was over, and what is only its echo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics_assets.insights.baseline import DAY, WEEK, Floats, Scores

ALARM = 4.8
#: Below it for six hours, an incident is over.
QUIET = 2.5
_QUIET_HOURS = 6
#: What lasts longer has become the new usual: it is said once and not again.
LONGEST_HOURS = 72
_ECHO_HOURS = 48
# A week's sum remembers for longer what was said of an hour or a day.
_DRIFT_ECHO_HOURS = 240
_STUCK_HOURS = 6
# An hour at the edges of an incident belongs to it if it departs by more than this share of what was expected.
_PART_OF_IT = 0.2


@dataclass(frozen=True)
class Incident:
    """One series, one direction. Hours are indices, ends included.

    Attributes:
        detected: the first hour at which it was an alarm; it never changes by what comes later.
        first, last: the hours that depart.
        over: the hour after which it was over, None while it lasts.
        kind: spike, drop, drift or stuck.
        peak: its largest score.
    """

    row: int
    kind: str
    up: bool
    detected: int
    first: int
    last: int
    over: int | None
    peak: float
    scale: int
    actual: float
    expected: float
    daily: float
    bursty: bool


def _first_hour(values: Floats, expected: Floats, detected: int, scale: int, up: bool) -> int:
    """The first hour of the alarm's window that is part of the incident."""
    for hour in range(max(detected - scale + 1, 0), detected):
        if _gap(values[hour], expected[hour], up) > _PART_OF_IT * expected[hour]:
            return hour
    return detected


def _gap(value: float, expected: float, up: bool) -> float:
    return value - expected if up else expected - value


def _stuck(values: Floats, expected: Floats) -> Floats:
    """For how many hours the same value, not zero, has been repeated; small counts repeat by chance and are left out."""
    same = np.zeros(len(values))
    for hour in range(1, len(values)):
        if values[hour] == values[hour - 1] and values[hour] >= 20 and expected[hour] >= 20:
            same[hour] = same[hour - 1] + 1
    return same


def _walk(row: int, values: Floats, scores: Scores, start: int) -> list[Incident]:
    score, drift = scores.score[row], scores.drift[row]
    stuck = _stuck(values, scores.expected[row])
    found: list[Incident] = []
    said_until, drift_said_until = -1, -1
    hour = start
    while hour < len(values):
        strength, scale, kind = score[hour], int(scores.scale[row, hour]), ""
        if abs(strength) >= ALARM:
            kind = "spike" if strength > 0 else "drop"
        elif abs(drift[hour]) >= ALARM and hour > drift_said_until:
            kind, strength, scale = "drift", drift[hour], WEEK
        elif stuck[hour] >= _STUCK_HOURS - 1 and np.max(stuck[max(hour - 14 * DAY, 0) : hour - _STUCK_HOURS]) < 2:
            kind, strength, scale = "stuck", 8.0, _STUCK_HOURS
        if not kind:
            hour += 1
            continue
        incident, after = _follow(row, kind, values, scores, hour, float(strength), scale, stuck)
        if hour > said_until or kind == "drift":
            found.append(incident)
        # Its echo lies behind its end, and an echo's echo behind that.
        said_until = after + _ECHO_HOURS
        drift_said_until = after + _DRIFT_ECHO_HOURS
        hour = after + 1
    return found


def _follow(
    row: int, kind: str, values: Floats, scores: Scores, detected: int, strength: float, scale: int, stuck: Floats
) -> tuple[Incident, int]:
    """The incident that begins here, and the hour after which the series may alarm again."""
    up = strength > 0
    track = scores.drift[row] if kind == "drift" else scores.score[row] if scale >= DAY else scores.short[row]
    peak, last, quiet, hour = abs(strength), detected, 0, detected
    over: int | None = None
    closed: int | None = None
    while hour < len(values):
        departs = track[hour] if up else -track[hour]
        if kind == "stuck":
            departs = strength if stuck[hour] else 0.0
        if not np.isnan(departs):
            if departs >= QUIET:
                quiet = 0
                if closed is None:
                    last = hour
                    peak = max(peak, float(departs))
            else:
                quiet += 1
        if closed is None and hour - detected >= LONGEST_HOURS:
            closed = over = hour
        if quiet >= _QUIET_HOURS:
            over = hour if over is None else over
            break
        hour += 1
    expected = scores.expected[row]
    first = _first_hour(values, expected, detected, scale, up)
    if kind == "drift":
        expected, first = scores.unlevelled[row], max(detected - WEEK + 1, 0)
    # The sums of several hours remember the incident for some more.
    while last > detected and _gap(values[last], expected[last], up) <= _PART_OF_IT * expected[last]:
        last -= 1
    window = slice(first, last + 1)
    known = ~np.isnan(values[window]) & ~np.isnan(expected[window])
    incident = Incident(
        row=row,
        kind=kind,
        up=up,
        detected=detected,
        first=first,
        last=last,
        over=over,
        peak=peak,
        scale=scale,
        actual=float(values[window][known].sum()),
        expected=float(expected[window][known].sum()),
        daily=float(np.nan_to_num(scores.daily[row, detected])),
        bursty=bool(scores.bursty[row, detected]),
    )
    return incident, min(hour, len(values))


def find_incidents(values: Floats, scores: Scores, start: int) -> list[Incident]:
    """Incidents of all series whose alarm lies at hour ``start`` or later. Series without an alarm cost nothing here."""
    if not values.size:
        return []
    with np.errstate(invalid="ignore"):
        loud = (np.abs(scores.score[:, start:]) >= ALARM).any(axis=1) | (np.abs(scores.drift[:, start:]) >= ALARM).any(axis=1)
        same = (np.diff(values[:, start:], axis=1) == 0) & (values[:, start + 1 :] >= 20)
    repeats = np.pad(np.cumsum(same, axis=1), ((0, 0), (1, 0)))
    run = _STUCK_HOURS - 1
    if repeats.shape[1] > run:
        loud |= (repeats[:, run:] - repeats[:, :-run] >= run).any(axis=1)
    return [incident for row in np.flatnonzero(loud) for incident in _walk(int(row), values[row], scores, start)]
