"""What a language model is told of an insight, and what its text may therefore say.

Sent are aggregates and words of this project: metric, channel, figures, times, severity, the template's advice. Not the organisation,
no id, and no text that a tenant wrote: names (of products, campaigns, pages) become N1, N2 and so on, and are put back afterwards,
so that nothing in them is an instruction to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from analytics_assets.insights.wording import channel_name, number

_MOST_NAME = 200
_MOST_FIGURES = 60
_KINDS = ("spike", "drop", "drift", "stuck")
# Words of the project in data_points, told apart or not at all; every other text is a name.
_OURS = {"metric", "channel", "kind", "direction", "unit", "currency"}
_SHARES = ("share", "rate", "probability", "confidence")
# Figures of the detector that no reader knows what to do with.
_INNER = {"score", "horizon_hours", "share_of_day", "usual_day"}


@dataclass
class Facts:
    """sent: what the model is told, nothing else is. The rest is what its text is held against.

    Attributes:
        numbers: those without a unit; amounts: of ``currency``; percents; durations: unit -> how many.
        moments: local times that are told.
        direction: up, down, or None where neither may be said.
        names: placeholder -> name.
    """

    sent: dict[str, Any]
    currency: str | None = None
    direction: str | None = None
    metrics: set[str] = field(default_factory=set)
    numbers: set[float] = field(default_factory=set)
    amounts: set[float] = field(default_factory=set)
    percents: set[float] = field(default_factory=set)
    durations: dict[str, set[float]] = field(default_factory=dict)
    moments: list[datetime] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Every text that the model was told, in small letters."""
        return " ".join(str(part) for part in _told(self.sent)).lower()

    def put_back(self, text: str) -> str:
        """The text with its names, each on one line."""
        return re.sub(r"\bN\d+\b", lambda found: self.names[found[0]], text)


def _told(value: Any) -> Iterator[Any]:
    """Keys and values."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield key
            yield from _told(part)
    elif isinstance(value, list):
        for part in value:
            yield from _told(part)
    else:
        yield value


def facts_of(row: Mapping[str, Any], units: Mapping[str, str], channels: frozenset[str]) -> Facts:
    """Facts of a row of private.narratives_due(). units: of the catalogue, by metric; channels: its channels."""
    data: dict[str, Any] = row["data_points"]
    told: dict[str, Any] = {"about": row["insight_type"], "severity": row["severity"]}
    facts = Facts(told)
    currency = str(data.get("currency"))
    facts.currency = currency if re.fullmatch("[A-Z]{3}", currency) else None
    _tell_series(facts, told, data, units, channels)
    _tell_times(facts, told, row)
    if row["insight_type"] == "anomaly":
        _tell_anomaly(facts, told, data, units, channels)
        told["is_over"] = bool(row["is_over"])
        # Sentences of the template, which hold no name; those of other insights may.
        told["advice"] = [str(sentence) for sentence in row["recommendations"]]
    else:
        told["figures"] = _tell_figures(facts, data)
    return facts


def _tell_series(
    facts: Facts, told: dict[str, Any], data: Mapping[str, Any], units: Mapping[str, str], channels: frozenset[str]
) -> None:
    if data.get("metric") in units:
        facts.metrics.add(str(data["metric"]))
        told["metric"] = str(data["metric"]).replace("_", " ")
    if data.get("channel") in channels:
        told["channel"] = channel_name(str(data["channel"]))
    kind, direction = data.get("kind"), data.get("direction")
    if kind in _KINDS:
        told["kind"] = str(kind)
    if direction in ("up", "down") and kind != "stuck":
        facts.direction = told["direction"] = str(direction)


def _tell_times(facts: Facts, told: dict[str, Any], row: Mapping[str, Any]) -> None:
    if row["period_start"] is None or row["period_end"] is None:
        return
    zone = ZoneInfo(row["time_zone"])
    facts.moments = [row["period_start"].astimezone(zone), row["period_end"].astimezone(zone)]
    told["from"], told["until"] = (f"{at:%A %d %B %Y, %H:%M}" for at in facts.moments)
    hours = (row["period_end"] - row["period_start"]).total_seconds() / 3600
    told["hours"] = number(hours)
    facts.durations["hour"] = {hours}
    if hours % 24 == 0:
        facts.durations["day"] = {hours / 24}


def _change(actual: float, expected: float) -> float | None:
    return 100 * (actual / expected - 1) if expected > 0 else None


def _tell_anomaly(
    facts: Facts, told: dict[str, Any], data: Mapping[str, Any], units: Mapping[str, str], channels: frozenset[str]
) -> None:
    for one, into in [(data, told), *((one, {}) for one in data.get("series", []))]:
        metric, channel = one.get("metric"), one.get("channel")
        is_lead = (metric, channel) == (data.get("metric"), data.get("channel"))
        if metric not in units or channel not in channels or (is_lead and into is not told):
            continue
        actual, expected = float(one["actual"]), float(one["expected"])
        is_money = units[metric] == "money" and facts.currency is not None
        (facts.amounts if is_money else facts.numbers).update((actual, expected))
        after = f" {facts.currency}" if is_money else ""
        into |= {"actual": number(actual) + after, "expected": number(expected) + after}
        if (change := _change(actual, expected)) is not None:
            facts.percents.add(change)
            into["change"] = f"{abs(change):,.0f} % {'above' if change > 0 else 'below'} the usual"
        if into is not told:
            facts.metrics.add(metric)
            named = {"metric": metric.replace("_", " "), "channel": channel_name(channel)}
            told.setdefault("moved_with_it", []).append(named | into)
    if data.get("at_stake") is not None and facts.currency is not None:
        facts.amounts.add(float(data["at_stake"]))
        told["at_stake"] = f"{number(float(data['at_stake']))} {facts.currency}"
    if data.get("baseline_days") is not None:
        facts.durations.setdefault("day", set()).add(float(data["baseline_days"]))
        told["compared_with"] = f"the same hours of the {number(float(data['baseline_days']))} days before"


def _tell_figures(facts: Facts, data: Mapping[str, Any]) -> dict[str, Any]:
    """Figures and names of an insight of any rule, by where they stand. What does not look like either is left out."""
    told: dict[str, Any] = {}
    for path, value in _paths(data):
        key = path[-1] if path else ""
        if len(told) >= _MOST_FIGURES or key in _INNER | _OURS or isinstance(value, bool):
            continue
        name = " ".join(path).replace("_", " ")
        if isinstance(value, int | float):
            told[name] = _figure(facts, key, float(value))
        elif isinstance(value, str) and value.strip():
            told[name] = _name(facts, value)
    return told


def _figure(facts: Facts, key: str, value: float) -> str:
    if key.endswith("percent"):
        facts.percents.add(value)
        return f"{value:,.1f} %"
    if key.endswith(_SHARES):
        facts.percents.add(100 * value)
        return f"{100 * value:,.1f} %"
    for unit in ("day", "hour", "week", "month"):
        if key.endswith(f"{unit}s"):
            facts.durations.setdefault(unit, set()).add(value)
    facts.numbers.add(value)
    facts.amounts |= {value} if facts.currency else set()
    return number(value)


def _name(facts: Facts, value: str) -> str:
    clean = " ".join("".join(character if character.isprintable() else " " for character in value).split())[:_MOST_NAME]
    for placeholder, name in facts.names.items():
        if name == clean:
            return placeholder
    placeholder = f"N{len(facts.names) + 1}"
    facts.names[placeholder] = clean
    return placeholder


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves with the keys that lead to them. (Keys are ours; one that does not look so has its leaf left out.)"""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if re.fullmatch(r"[a-z][a-z0-9_]{0,39}", key):
                yield from _paths(part, (*path, key))
    elif isinstance(value, list):
        for place, part in enumerate(value, 1):
            yield from _paths(part, (*path, str(place)))
    else:
        yield path, value
