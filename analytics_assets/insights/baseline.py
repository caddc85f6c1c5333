"""What was to be expected of an hour, and how far the hour departs from it. Pure numpy over many series at once.

Only the past is used, and a value is never in its own baseline. Sums over 1, 3, 6 and 24 hours are compared with the same clock
window of the previous 21 days: their median, moved towards the same weekday and towards the level of the last seven days as far as
these differ from it by more than noise. The departure is stabilised for counts (square root), in units of the series' own
dispersion. A fifth horizon, 168 hours, compares a week with the days before without following the level: what bleeds slowly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DAY = 24
SCALES = (1, 3, 6, 24)
#: How much further a short horizon has to depart: it is looked at more often, and its tail is longer.
SHORT_FACTORS = {1: 1.6, 3: 1.1, 6: 1.0, 24: 1.0}
WEEK = 168
BASELINE_DAYS = 21
MIN_HISTORY_DAYS = 14
_MIN_DAYS_SEEN = 10
_SPREAD_DAYS = 14
# Below so many effective events a departure says nothing.
_MIN_EVENTS = 3.0
_MIN_EVENTS_SEEN = 12.0
# A day's largest |z| among 24 of a well-behaved series seldom passes this; series that pass it often are held to their own tail.
_USUAL_DAILY_MAXIMUM = 2.8
# Days resemble the days before them: a week's departures add up to more than those of seven independent days.
_WEEK_INFLATION = 2.0
_SMALLEST_DRIFT = 0.12
# So many series at once stay within some hundred megabytes; sorting them leaves the interpreter free for another thread.
_CHUNK = 400
_THREADS = 2


@dataclass(frozen=True)
class Scores:
    """Of n series x T hours. NaN: not judged.

    Attributes:
        score: the signed departure of the horizon that departs most, in units of which 4.8 is an alarm.
        short: the same of the horizons up to six hours: it ends soon after the incident does.
        scale: that horizon in hours; drift: the same of the horizon of a week (signed).
        expected: what was expected of the hour alone; unlevelled: the same without following the last days' level.
        low, high: between which values the hour alone is no alarm.
        daily: what was expected of the 24 hours that end with the hour.
        bursty: whether the series is held to its own tail.
    """

    score: Floats
    short: Floats
    scale: NDArray[np.int16]
    drift: Floats
    expected: Floats
    unlevelled: Floats
    low: Floats
    high: Floats
    daily: Floats
    bursty: Bools


def rolling_sum(values: Floats, hours: int) -> Floats:
    """Sums over the hours that end with each; NaN where one of them is missing."""
    missing = np.isnan(values)
    total = np.cumsum(np.where(missing, 0.0, values), axis=1)
    gaps = np.cumsum(missing, axis=1)
    out = np.full(values.shape, np.nan)
    if values.shape[1] < hours:
        return out
    out[:, hours - 1 :] = total[:, hours - 1 :]
    out[:, hours:] -= total[:, :-hours]
    holes = gaps[:, hours - 1 :].copy()
    holes[:, 1:] -= gaps[:, :-hours]
    out[:, hours - 1 :][holes > 0] = np.nan
    return out


def _lagged(sums: Floats, days: range) -> Floats:
    """The same clock window of the days before: (days, n, T)."""
    out = np.full((len(days), *sums.shape), np.nan, dtype=np.float32)
    for place, day in enumerate(days):
        if day * DAY < sums.shape[1]:
            out[place, :, day * DAY :] = sums[:, : -day * DAY]
    return out


def _median(stack: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Median over the first axis without missing ones (numpy's own takes ten times as long), and how many there are."""
    ordered = np.sort(stack, axis=0)  # NaN last
    seen = np.sum(~np.isnan(stack), axis=0)
    low = np.take_along_axis(ordered, np.maximum((seen - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(seen // 2, len(stack) - 1)[None], axis=0)[0]
    middle = (low.astype(np.float64) + np.where(seen % 2 == 1, low, high)) / 2
    return np.where(seen > 0, middle, np.nan), seen


def _trusted(difference: Floats, variance: Floats) -> Floats:
    """A difference, drawn back towards nothing as far as noise explains it."""
    square = difference**2
    return np.nan_to_num(difference * square / np.maximum(square + variance, 1e-30))


def _profile(sums: Floats, *, by_weekday: bool) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Median of the same clock window of the previous days, the weekday's trusted share of it (0: not asked), and days seen."""
    stack = _lagged(sums, range(1, BASELINE_DAYS + 1))
    middle, seen = _median(stack)
    if not by_weekday:
        return middle, np.zeros(1), seen
    weekday, weeks = _median(stack[6::7])
    spread, _ = _median(np.abs(stack - middle[None].astype(np.float32)))
    share = _trusted(weekday - middle, (1.4826 * spread) ** 2 / np.maximum(weeks, 1)) / np.maximum(middle, 1e-12)
    return middle, np.where(middle > 0, share, 0.0), seen


def _level(sums: Floats, middle_day: Floats, weekday: Floats) -> Floats:
    """The last seven days beside what is expected now, each freed of its weekday; the last one left out for the day under test.

    Beside what was expected of them then, a new level counted twice while the median was crossing over to it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        stack = _lagged(sums / (1 + weekday), range(1, 8)) / np.where(middle_day > 0, middle_day, np.nan).astype(np.float32)
    middle, seen = _median(stack)
    spread, _ = _median(np.abs(stack - middle[None].astype(np.float32)))
    moved = _trusted(middle - 1, 1.6 * (1.4826 * spread) ** 2 / 7)
    return np.where(seen >= 4, np.clip(1 + moved, 0.2, 5.0), 1.0)


def _by_day(values: Floats) -> Floats:
    """(n, days, 24) from the first hour on, the last day filled up: where a day ends must not move with the newest hour."""
    missing = -values.shape[1] % DAY
    return np.pad(values, ((0, 0), (0, missing)), constant_values=np.nan).reshape(len(values), -1, DAY)


def _dispersion(sums: Floats, expected: Floats, floor: Floats, *, with_tail: bool) -> Floats:
    """Variance over mean of the residuals of the 14 days before each day: by their median; with_tail: or by their outer tenth.

    Earlier incidents fill the outer tenth and hid later ones of a few hours. Sums of a day need it: a level that has just moved
    stays among them for two weeks.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        square = np.where(expected > 0, (sums - expected) ** 2 / expected, np.nan)
    days = _by_day(square)
    out = np.full(days.shape, np.nan)
    for day in range(1, days.shape[1]):
        past = days[:, max(0, day - _SPREAD_DAYS) : day].reshape(len(days), -1)
        seen = np.sum(~np.isnan(past), axis=1)
        ordered = np.sort(past, axis=1)
        at = np.arange(len(past))
        middle = 2.2 * ordered[at, np.maximum(seen // 2 - 1, 0)]
        outer = ordered[at, np.maximum((seen * 9) // 10 - 1, 0)] / 2.71
        spread = np.maximum(middle, outer) if with_tail else middle
        out[:, day] = np.where(seen >= 3 * DAY, spread, np.nan)[:, None]
    return np.asarray(np.maximum(out.reshape(len(out), -1)[:, : sums.shape[1]], floor[:, None]), dtype=np.float64)


def _tail(z: Floats) -> Floats:
    """What |z| is divided by: above 1 where the days before often had larger ones than noise has."""
    days = _by_day(np.abs(z))
    largest = np.max(np.nan_to_num(days), axis=2)
    out = np.ones(days.shape)
    for day in range(1, days.shape[1]):
        past = np.sort(largest[:, max(0, day - _SPREAD_DAYS) : day], axis=1)
        # Three days of an incident in two weeks do not make a series bursty.
        out[:, day] = np.maximum(past[:, (past.shape[1] * 3) // 4 - (past.shape[1] > 3)] / _USUAL_DAILY_MAXIMUM, 1.0)[:, None]
    return out.reshape(len(out), -1)[:, : z.shape[1]]


def _stable(value: Floats, dispersion: Floats) -> Floats:
    return 2 * np.sqrt(np.maximum(value, 0) / dispersion + 0.375)


def _edges(expected: Floats, dispersion: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """Between which values the hour's own departure stays below ``reach``."""
    root = np.sqrt(expected / dispersion + 0.375)
    low = (np.maximum(root - reach / 2, 0) ** 2 - 0.375) * dispersion
    return np.maximum(low, 0), ((root + reach / 2) ** 2 - 0.375) * dispersion


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def _score(values: Floats, is_count: Bools, alarm: float) -> Scores:
    shape = values.shape
    floor = np.where(is_count, 1.0, 1e-9)
    sums = {scale: rolling_sum(values, scale) for scale in SCALES}
    # Hours are too noisy to tell weekdays apart: they follow the six hours that end with them.
    profiles = {scale: _profile(sums[scale], by_weekday=scale >= 6) for scale in SCALES}
    bases = {scale: profiles[scale][0] * (1 + profiles[24 if scale == 24 else 6][1]) for scale in SCALES}
    level = _level(sums[24], *profiles[24][:2])
    score, scales = np.full(shape, np.nan), np.zeros(shape, dtype=np.int16)
    bursty = np.zeros(shape, dtype=np.bool_)
    old = np.cumsum(~np.isnan(values), axis=1) > 0
    old[:, MIN_HISTORY_DAYS * DAY :] &= old[:, : -MIN_HISTORY_DAYS * DAY]
    old[:, : MIN_HISTORY_DAYS * DAY] = False
    for scale in SCALES:
        seen = profiles[scale][2]
        expected = np.where(seen >= _MIN_DAYS_SEEN, np.maximum(bases[scale] * level, 0), np.nan)
        dispersion = _dispersion(sums[scale], expected, floor, with_tail=scale == DAY)
        z = _stable(sums[scale], dispersion) - _stable(expected, dispersion)
        tail = _tail(z)
        if scale == 1:
            reach = alarm * SHORT_FACTORS[1] * tail
            low, high = _edges(expected, dispersion, reach)
            hour = expected
        if scale == 24:
            daily = expected
            usual = np.where(seen >= _MIN_DAYS_SEEN, bases[24], np.nan)
            drift = _week((_stable(sums[24], dispersion) - _stable(usual, dispersion)) / tail, sums[24], usual)
        enough = (expected / dispersion >= _MIN_EVENTS) | (
            (sums[scale] / dispersion >= _MIN_EVENTS_SEEN) & (expected / dispersion >= _MIN_EVENTS / 6)
        )
        judged = np.where(enough & old, z / tail / SHORT_FACTORS[scale], np.nan)
        better = np.nan_to_num(np.abs(judged), nan=-1.0) > np.nan_to_num(np.abs(score), nan=-1.0)
        score = np.where(better, judged, score)
        if scale < DAY:
            short = score
        scales = np.where(better, np.int16(scale), scales)
        bursty |= tail > 1.25
    # Hours that were judged on no horizon for want of events are as quiet as can be.
    quiet = old & ~np.isnan(values)
    score, short = (np.where(quiet & np.isnan(one), 0.0, one) for one in (score, short))
    return Scores(score, short, scales, np.where(old, drift, np.nan), hour, bases[1], low, high, daily, bursty)


def _week(unlevelled: Floats, days: Floats, base: Floats) -> Floats:
    """The departure of the last seven days together from what the days before made expect."""
    total, actual, usual = np.zeros(days.shape), np.zeros(days.shape), np.zeros(days.shape)
    for day in range(7):
        for into, values in ((total, unlevelled), (actual, days), (usual, base)):
            moved = np.full(days.shape, np.nan)
            moved[:, day * DAY :] = values[:, : max(values.shape[1] - day * DAY, 0)]
            into += moved
    with np.errstate(divide="ignore", invalid="ignore"):
        large = np.abs(actual / usual - 1) >= _SMALLEST_DRIFT
    return np.where(np.isnan(total), np.nan, np.where(large, total / np.sqrt(7 * _WEEK_INFLATION), 0.0))


def score_series(values: Floats, is_count: Bools, alarm: float) -> Scores:
    """Scores of n series (rows) over T hours; NaN: the hour is missing. A series begins with its first hour that is not zero.

    Args:
        is_count: rows that count things: their dispersion is at least that of counts.
        alarm: the score at which the band's edges lie.
    """
    if not values.size:
        nothing = np.full(values.shape, np.nan)
        scale, bursty = np.zeros(values.shape, dtype=np.int16), np.zeros(values.shape, dtype=np.bool_)
        return Scores(nothing, nothing, scale, nothing, nothing, nothing, nothing, nothing, nothing, bursty)
    values = np.maximum(values, 0.0)
    begun = np.cumsum(np.nan_to_num(values) > 0, axis=1) > 0
    values = np.where(begun, values, np.nan)
    chunks = range(0, len(values), _CHUNK)
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda at: _score(values[at : at + _CHUNK], is_count[at : at + _CHUNK], alarm), chunks))
    return Scores(*(np.concatenate([getattr(part, name) for part in parts]) for name in Scores.__dataclass_fields__))
