"""Seeded worlds for the detector: hourly series of shops with seasons, noise and bursts, and incidents of known kind and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytics_assets.insights.baseline import DAY, Floats

#: What share of the usual an incident leaves, or how many times it is, and for how many hours.
KINDS: dict[str, tuple[tuple[float, float], tuple[int, int]]] = {
    "spike": ((2.2, 4.0), (2, 8)),
    "drop": ((0.1, 0.45), (6, 18)),
    "outage": ((0.0, 0.0), (4, 14)),
    "shift up": ((1.5, 2.0), (240, 400)),
    "shift down": ((0.4, 0.65), (240, 400)),
    "slow bleed": ((0.3, 0.55), (240, 336)),
    "double counting": ((2.0, 2.0), (8, 30)),
}


@dataclass(frozen=True)
class Injected:
    row: int
    kind: str
    start: int
    end: int


def clean(rng: np.random.Generator, rows: int, days: int, volumes: Sequence[float]) -> Floats:
    """Counts with seasons by hour and weekday, a level that wanders, and more noise than counts have."""
    hours = np.arange(days * DAY)
    out = np.empty((rows, len(hours)))
    for row in range(rows):
        volume = volumes[row % len(volumes)]
        peak = rng.uniform(11, 20)
        by_hour = np.exp(rng.uniform(0.7, 1.5) * np.cos(2 * np.pi * (hours % DAY - peak) / DAY))
        weekdays = np.exp(rng.normal(0, 0.2, 7))
        weekdays[5:] *= rng.choice([0.5, 0.8, 1.0, 1.3])
        level = np.exp(np.repeat(np.cumsum(rng.normal(0, 0.015, days)), DAY))
        mean = by_hour / by_hour.mean() * weekdays[(hours // DAY) % 7] * level * volume
        noise = rng.gamma(1 / rng.uniform(0.005, 0.04), size=len(hours))
        out[row] = rng.poisson(mean * noise / noise.mean())
    return out


def inject(rng: np.random.Generator, values: Floats, kinds: Sequence[str], first: int) -> tuple[Floats, list[Injected]]:
    """One incident a row, beginning at ``first`` or up to five days later, at a time of day that has something to lose."""
    out, found = values.copy(), []
    for row in range(len(values)):
        kind = kinds[row % len(kinds)]
        (low, high), (shortest, longest) = KINDS[kind]
        factor, length = rng.uniform(low, high), int(rng.integers(shortest, longest + 1))
        start = first + int(rng.integers(0, 5)) * DAY + int(rng.integers(8, 18))
        end = min(start + length, values.shape[1])
        factors = np.full(end - start, factor)
        if kind == "slow bleed":
            factors = np.linspace(1.0, factor, end - start)
        part = values[row, start:end]
        out[row, start:end] = np.where(
            factors < 1, rng.binomial(part.astype(int), np.minimum(factors, 1)), np.round(part * factors)
        )
        found.append(Injected(row, kind, start, end))
    return out, found
