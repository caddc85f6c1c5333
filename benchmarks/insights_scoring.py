"""What a detector told beside what happened: found incidents, false alerts, delay, by the same rules for every detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.insights_world import DAY, LEAD, QUARTER, ROWS, WEEK, Floats, Incident

#: An alert so long after the end of an incident still speaks of it: sums of a day remember it.
_GRACE = DAY
# Alerts of a series with less than so many quiet hours between them are one; series that begin within so many are one.
_QUIET_HOURS = 6
_TOGETHER_HOURS = 6
_ROUNDS = 400


@dataclass(frozen=True)
class Alert:
    """What an organisation is told: at the end of hour ``told``, of these rows (of its own) and in this direction."""

    organization: int
    told: int
    up: bool
    rows: tuple[int, ...]
    confidence: float = 1.0
    kind: str = ""

    def speaks_of(self, incident: Incident) -> bool:
        """Whether it is about it: while it lasts or in the day after, the same way, at least one of its series."""
        return (
            incident.start <= self.told < incident.end + _GRACE
            and incident.up in (None, self.up)
            and not set(self.rows).isdisjoint(incident.rows)
        )


@dataclass(frozen=True)
class Tally:
    """Counts of one organisation. known: material incidents; told: those found; also: others found; again: said more than once."""

    known: int
    told: int
    also: int
    false: int
    again: int
    delays: tuple[tuple[str, int], ...]
    kinds: tuple[tuple[str, bool], ...]
    judged: tuple[tuple[float, str, bool], ...]


def tally(organizations: Sequence[int], incidents: Iterable[Incident], alerts: Iterable[Alert]) -> list[Tally]:
    """Every alert is of one incident, of several, or false. Incidents that are not material are neither missed nor falsely told."""
    mine: dict[int, list[Alert]] = {one: [] for one in organizations}
    theirs: dict[int, list[Incident]] = {one: [] for one in organizations}
    for alert in alerts:
        if alert.organization in mine and alert.told >= LEAD:
            mine[alert.organization].append(alert)
    for incident in incidents:
        if incident.organization in theirs:
            theirs[incident.organization].append(incident)
    out = []
    for one in organizations:
        delays, kinds, told, also = [], [], 0, 0
        for incident in theirs[one]:
            when = min((a.told for a in mine[one] if a.speaks_of(incident)), default=None)
            if incident.material:
                kinds.append((incident.kind, when is not None))
            if when is not None:
                told += incident.material
                also += not incident.material
                if incident.material:
                    # An hour is known when it is over.
                    delays.append((incident.kind, when + 1 - incident.start))
        judged = [(a.confidence, a.kind, any(a.speaks_of(i) for i in theirs[one])) for a in mine[one]]
        true = sum(right for *_, right in judged)
        known = sum(incident.material for incident in theirs[one])
        out.append(
            Tally(known, told, also, len(judged) - true, max(true - told - also, 0), tuple(delays), tuple(kinds), tuple(judged))
        )
    return out


@dataclass(frozen=True)
class Accuracy:
    """Of one detector over organisations with incidents and as many without; low, high: 95 % of bootstrap samples of organisations."""

    precision: float
    recall: float
    f1: float
    low: float
    high: float
    false_a_week: float
    delay: float
    again: float
    incidents: int


def _f1(known: NDArray[np.int64], told: NDArray[np.int64], false: NDArray[np.int64]) -> Floats:
    top = 2.0 * told.sum(axis=-1)
    return np.asarray(top / np.maximum(top + false.sum(axis=-1) + (known - told).sum(axis=-1), 1e-9), dtype=np.float64)


def accuracy(tallies: Sequence[Tally], seed: int = 7) -> Accuracy:
    """Precision, recall and F1 by incidents: what is told twice counts once, a false alert always."""
    known, told, also, false = (np.array([getattr(one, name) for one in tallies]) for name in ("known", "told", "also", "false"))
    picks = np.random.default_rng(seed).integers(0, len(tallies), (_ROUNDS, len(tallies)))
    sampled = _f1(known[picks], told[picks], false[picks])
    delays = [delay for one in tallies for _, delay in one.delays]
    return Accuracy(
        precision=float(told.sum() / max(told.sum() + false.sum(), 1)),
        recall=float(told.sum() / max(known.sum(), 1)),
        f1=float(_f1(known, told, false)),
        low=float(np.quantile(sampled, 0.025)),
        high=float(np.quantile(sampled, 0.975)),
        false_a_week=float(false.sum() / len(tallies) / (QUARTER / WEEK)),
        delay=float(np.median(delays)) if delays else float("nan"),
        again=float(sum(one.again for one in tallies) / max((told + also).sum(), 1)),
        incidents=int(known.sum()),
    )


def alerts_of(z: Floats, threshold: float, organizations: Sequence[int]) -> list[Alert]:
    """A peer's alerts from its departures by hour (ROWS rows an organisation): the hours of a series with few quiet ones between
    them are one, and series that begin within six hours and go the same way are one, as the insights' are."""
    out: list[Alert] = []
    with np.errstate(invalid="ignore"):
        for up in (True, False):
            loud = z > threshold if up else z < -threshold
            before = np.cumsum(loud, axis=1, dtype=np.int64)
            recent = before.copy()
            recent[:, _QUIET_HOURS + 1 :] -= before[:, : -_QUIET_HOURS - 1]
            # The first loud hour after six quiet ones.
            rows, hours = np.nonzero(loud & (recent == 1))
            order = np.lexsort((rows, hours, rows // ROWS))
            open_rows: list[int] = []
            opened = (-1, 0)
            for at in order:
                organization, hour = int(rows[at]) // ROWS, int(hours[at])
                if open_rows and (organization != opened[0] or hour > opened[1] + _TOGETHER_HOURS):
                    out.append(Alert(organizations[opened[0]], opened[1], up, tuple(open_rows)))
                    open_rows = []
                if not open_rows:
                    opened = (organization, hour)
                open_rows.append(int(rows[at]) % ROWS)
            if open_rows:
                out.append(Alert(organizations[opened[0]], opened[1], up, tuple(open_rows)))
    return out
