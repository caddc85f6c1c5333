"""Rules as they are typed: read, checked against the catalogue, and said again. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any

KINDS = ("above", "below", "change", "goal")
ALL_CHANNELS = "all"
#: How far inside its threshold an alert clears, by default: a share of the threshold.
HYSTERESIS = Decimal("0.05")
#: Below so much a week before, or in a denominator, a change or a ratio is mostly chance.
USUAL_BASE = Decimal(20)
_MOST_CONFIRM = 6
_MOST_NAME = 100
_DIGITS = 30


class RuleError(ValueError):
    """A rule that cannot be; the message names the field, its value and what to do."""


@dataclass(frozen=True)
class Rule:
    """A rule of an organisation. threshold and clear: in the metric's unit, of a change in percent. quiet: local times."""

    name: str
    channel: str
    metric: str
    grain: str
    kind: str
    threshold: Decimal
    clear_threshold: Decimal
    confirm: int
    minimum_base: Decimal
    quiet_from: time | None = None
    quiet_to: time | None = None
    since: date | None = None


def number(field: str, text: str) -> Decimal:
    """A finite decimal number. Raises RuleError."""
    try:
        value = Decimal(text.strip().removesuffix("%").strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value) >= Decimal(10) ** _DIGITS:
        raise RuleError(f"{field} {text!r}: expected a number such as 10 or 12.50")
    return value


def quiet_hours(text: str) -> tuple[time, time]:
    """22:00-07:00 as two local times. Raises RuleError."""
    found = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", text)
    try:
        hours = found and (time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4])))
    except ValueError:
        hours = None
    if not hours:
        raise RuleError(f"--quiet {text!r}: expected two times of the organisation's clock such as 22:00-07:00")
    if hours[0] == hours[1]:
        raise RuleError(f"--quiet {text!r}: begins when it ends; leave it out, or name two times")
    return hours


def clear_default(kind: str, threshold: Decimal) -> Decimal:
    """Five percent of the threshold inside it: an alert on a series that hovers at the threshold does not flap."""
    if kind == "change":
        return threshold * (1 - HYSTERESIS)
    inside = abs(threshold) * HYSTERESIS
    return threshold - inside if kind == "above" else threshold + inside


def make_rule(
    *,
    name: str,
    channel: str,
    metric: str,
    grain: str,
    limits: Mapping[str, str | None],
    clear: str | None = None,
    confirm: int = 2,
    minimum: str | None = None,
    quiet: str | None = None,
    since: date | None = None,
    catalogue: Sequence[Mapping[str, Any]],
) -> Rule:
    """A rule from what was typed. limits: kind -> text, one of them given. Raises RuleError."""
    name = name.strip()
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise RuleError(f"--name {name!r}: expected 1 to {_MOST_NAME} characters")
    given = [(kind, text) for kind, text in limits.items() if text is not None]
    if len(given) != 1:
        raise RuleError(f"expected one of {', '.join(f'--{kind}' for kind in KINDS)}, not {len(given)} of them")
    kind, text = given[0]
    grain = "day" if kind == "goal" and not grain else grain or "hour"
    if grain not in ("hour", "day"):
        raise RuleError(f"--grain {grain!r}: expected hour or day")
    threshold = number(f"--{kind}", text)
    _check_limit(kind, grain, threshold, text)
    is_ratio = _check_metric(channel, metric, grain, kind, catalogue)
    clear_threshold = clear_default(kind, threshold) if clear is None else number("--clear", clear)
    upward = kind == "above" or (kind == "change" and threshold > 0)
    if (clear_threshold > threshold) if upward else (clear_threshold < threshold):
        raise RuleError(
            f"--clear {clear}: an alert {kind} {text} has to clear {'at or below' if upward else 'at or above'} {text}"
        )
    if kind == "change" and clear_threshold * threshold < 0:
        raise RuleError(f"--clear {clear}: expected between 0 and {text}")
    if not 1 <= confirm <= _MOST_CONFIRM:
        raise RuleError(f"--confirm {confirm}: expected 1 to {_MOST_CONFIRM} hours or days in a row")
    base = (USUAL_BASE if is_ratio or kind == "change" else Decimal(0)) if minimum is None else number("--minimum", minimum)
    if base < 0:
        raise RuleError(f"--minimum {minimum}: expected 0 or more")
    if base and not is_ratio and kind != "change":
        raise RuleError(f"--minimum {minimum}: only a ratio or a --change has something to compare with; leave it out")
    quiet_from, quiet_to = quiet_hours(quiet) if quiet else (None, None)
    return Rule(name, channel, metric, grain, kind, threshold, clear_threshold, confirm, base, quiet_from, quiet_to, since)


def _check_limit(kind: str, grain: str, threshold: Decimal, text: str) -> None:
    if kind == "change" and threshold == 0:
        raise RuleError("--change 0: expected a rise such as 50 or a fall such as -30, in percent")
    if kind == "change" and threshold <= -100:
        raise RuleError(f"--change {text}: nothing falls by more than 100 %; expected above -100")
    if kind == "goal" and grain != "day":
        raise RuleError(f"--grain {grain}: a goal is of the month and judged by the day; leave --grain out")
    if kind == "goal" and threshold <= 0:
        raise RuleError(f"--goal {text}: expected more than 0")


def _check_metric(channel: str, metric: str, grain: str, kind: str, catalogue: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the metric is a ratio. Raises RuleError where channel or metric are unknown or cannot be judged."""
    known = {str(row["metric"]): row for row in catalogue}
    channels = list(catalogue[0]["channels"]) if catalogue else []
    if channel not in (*channels, ALL_CHANNELS):
        raise RuleError(f"--channel {channel!r}: expected one of {', '.join(channels)} or {ALL_CHANNELS}")
    if metric not in known:
        near = [name for name in known if metric[:4] and metric[:4] in name][:5]
        raise RuleError(f"--metric {metric!r}: not in the catalogue" + (f"; near it: {', '.join(near)}" if near else ""))
    row = known[metric]
    is_ratio = row["kind"] == "ratio"
    if row["kind"] == "last":
        raise RuleError(f"--metric {metric}: says what is at the moment and is in no hour or day; expected another")
    by_hour = row["numerator_hourly"] and row["denominator_hourly"] if is_ratio else row["hourly"]
    if grain == "hour" and not by_hour:
        raise RuleError(f"--metric {metric}: is known by the day only; add --grain day")
    if kind == "goal" and row["kind"] != "sum":
        raise RuleError(f"--metric {metric}: does not add up over a month; a goal needs a sum such as orders or total_sales")
    kinds = {row["numerator_kind"], row["denominator_kind"]} if is_ratio else {row["kind"]}
    if channel == ALL_CHANNELS and kinds != {"sum"}:
        raise RuleError(f"--channel {ALL_CHANNELS}: {metric} does not add up over channels; name one")
    return bool(is_ratio)


def limit_text(row: Mapping[str, Any]) -> str:
    """What a stored rule fires at, as it was typed."""
    value = f"{row['threshold'].normalize():f}"
    return f"change {value} %" if row["kind"] == "change" else f"{row['kind']} {value}"


def quiet_text(row: Mapping[str, Any]) -> str:
    """Quiet hours of a stored rule; empty where it has none."""
    return f"{row['quiet_from']:%H:%M}-{row['quiet_to']:%H:%M}" if row["quiet_from"] is not None else ""
