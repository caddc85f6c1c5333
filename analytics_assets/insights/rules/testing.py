"""What a rule has tested, and which of it is a discovery: controlled over all series of the organisation, and large enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from analytics_assets.insights.baseline import Bools, Floats
from analytics_assets.insights.rules.evidence import Evidence
from analytics_assets.insights.rules.statistics import Integers, adjusted

#: The rate of false discoveries, per organisation, rule and day on which it is judged.
FALSE_DISCOVERIES = 0.10
_EACH_DISMISSAL = 1.25
_MOST_DISMISSALS = 3


@dataclass(frozen=True)
class Shares:
    """A share beside the one that it is compared with: part of whole, base_part of base_whole."""

    part: float
    whole: float
    base_part: float
    base_whole: float

    @property
    def rate(self) -> float:
        """The share."""
        return self.part / self.whole

    @property
    def base(self) -> float:
        """The one that it is compared with."""
        return self.base_part / self.base_whole

    @property
    def change(self) -> float:
        """By how many percent it differs."""
        return 100 * (self.rate / self.base - 1)


@dataclass
class Tests:
    """Flat: one entry a series and day on which it was tested.

    Attributes:
        row: the series' place in the evidence; organization: its owner's.
        day: the last day of the data that the test rests on.
        p: of the null hypothesis.
        effect: relative change, signed; size: how many times the minimum effect it is, 0 where the rule asks for more.
        figures: further numbers of each entry.
    """

    row: Integers
    organization: Integers
    day: Integers
    p: Floats
    effect: Floats
    size: Floats
    figures: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    @staticmethod
    def of(
        tested: Bools, owner: Integers, day: Integers, p: Floats, effect: Floats, size: Floats, figures: dict[str, Any]
    ) -> Tests:
        """From matrices (series x evaluations): the entries that were tested and have a p-value."""
        row, column = np.nonzero(tested & np.isfinite(p))
        at = np.broadcast_to(day, tested.shape)[row, column]
        chosen = {name: values[row, column] for name, values in figures.items()}
        return Tests(row, owner[row], at, p[row, column], effect[row, column], np.nan_to_num(size[row, column]), chosen)

    def shares(self, entry: int) -> Shares:
        """What an entry compared, of a rule that compares shares: its figures part, whole, base_part, base_whole."""
        return Shares(*(float(self.figures[name][entry]) for name in ("part", "whole", "base_part", "base_whole")))

    @staticmethod
    def joined(parts: Sequence[Tests]) -> Tests:
        figures = {name: np.concatenate([part.figures[name] for part in parts]) for name in parts[0].figures}
        fields = ("row", "organization", "day", "p", "effect", "size")
        return Tests(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}, figures=figures)


@dataclass(frozen=True)
class Told:
    """A discovery in words. counts: every figure of the text that a table holds, in the words of the check that adds it up again."""

    title: str
    sentences: list[str]
    advice: list[str]
    first: int
    last: int
    counts: list[dict[str, Any]]
    figures: dict[str, Any]
    stake: float | None = None


@dataclass(frozen=True)
class Hit:
    """Entries of a day that are told as one; the first of them leads."""

    key: str
    organization: int
    day: int
    entries: tuple[int, ...]
    q: float
    size: float
    up: bool


@dataclass(frozen=True)
class Rule:
    """A named rule.

    Attributes:
        level: p-values above it are none, whatever the others of their family are.
        key: of an entry: what it is about, without direction and time. Entries of one key, day and direction are told as one.
        place: of an entry: the one with the least leads.
        kind: insight_type by whether it went up.
        controlled: whether p-values are adjusted for all that the rule tests; else they are taken as they are.
    """

    name: str
    test: Callable[[Evidence], Tests]
    tell: Callable[[Evidence, Tests, Hit], Told]
    key: Callable[[Evidence, Tests, int], str]
    place: Callable[[Evidence, Tests, int], float]
    kind: Callable[[bool], str]
    level: float = 1.0
    controlled: bool = True


def discoveries(rule: Rule, tests: Tests) -> tuple[Integers, Floats]:
    """Entries that are discoveries and large enough, and the adjusted p-value of every entry."""
    q = adjusted(tests.p, tests.organization * 100_000 + tests.day) if rule.controlled else tests.p
    most = FALSE_DISCOVERIES if rule.controlled else rule.level
    return np.flatnonzero((q <= most) & (tests.p <= rule.level) & (tests.size >= 1)), q


def _needed(evidence: Evidence, organization: int, key: str, day: int) -> float:
    """How many times the minimum effect: more for what was dismissed before the day was over."""
    owner = evidence.organizations[organization]
    until = instant(evidence, organization, day + 1).timestamp()
    times = sum(1 for name, at in owner.dismissed if name == key and at <= until)
    return float(_EACH_DISMISSAL ** min(times, _MOST_DISMISSALS))


def hits(rule: Rule, evidence: Evidence, tests: Tests) -> list[Hit]:
    """What is told of each day, in the order of days."""
    found, q = discoveries(rule, tests)
    groups: dict[tuple[int, int, str], list[int]] = defaultdict(list)
    for entry in found.tolist():
        direction = "up" if tests.effect[entry] > 0 else "down"
        key = f"{rule.name}|{rule.key(evidence, tests, entry)}|{direction}"
        organization, day = int(tests.organization[entry]), int(tests.day[entry])
        # (What of a day is not computed is not told of it either, though its funnels and cohorts may be.)
        if evidence.organizations[organization].computed[day] and tests.size[entry] >= _needed(evidence, organization, key, day):
            groups[day, organization, key].append(entry)
    out = []
    for (day, organization, key), entries in sorted(groups.items()):
        ordered = tuple(sorted(entries, key=lambda entry: (rule.place(evidence, tests, entry), int(tests.row[entry]))))
        lead = ordered[0]
        out.append(Hit(key, organization, day, ordered, float(q[lead]), float(tests.size[lead]), bool(tests.effect[lead] > 0)))
    return out


def instant(evidence: Evidence, organization: int, day: int) -> datetime:
    """At which a day of the organisation begins."""
    at = evidence.start + timedelta(days=day)
    zone = ZoneInfo(evidence.organizations[organization].time_zone)
    return datetime(at.year, at.month, at.day, tzinfo=zone).astimezone(UTC)


def told_day(evidence: Evidence, day: int) -> str:
    return f"{evidence.start + timedelta(days=day):%a %d %b}"


def dated(evidence: Evidence, first: int, last: int) -> dict[str, str]:
    """The days of a count, both included, for the check."""
    return {"from": str(evidence.start + timedelta(days=first)), "to": str(evidence.start + timedelta(days=last))}
