"""Tests over many series at once: Student's t, departures of a share under overdispersion, false discoveries. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics_assets.insights.baseline import Bools, Floats

Integers = NDArray[np.int64]


def two_sided(t: Floats, freedom: Floats | int) -> Floats:
    """P(|T| >= |t|) of Student's distribution with whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    t, freedom = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(freedom, dtype=np.float64))
    out = np.full(t.shape, np.nan)
    for degrees in np.unique(freedom[np.isfinite(freedom) & (freedom >= 1)]):
        chosen = (freedom == degrees) & ~np.isnan(t)
        angle = np.arctan(np.abs(t[chosen]) / np.sqrt(degrees))
        sine, cosine = np.sin(angle), np.cos(angle)
        odd = int(degrees) % 2
        term = cosine if odd else np.ones_like(cosine)
        total = np.zeros_like(term)
        for power in range(2 + odd, int(degrees) + 1, 2):
            total += term
            term = term * cosine**2 * (power - 1) / power
        within = 2 / np.pi * (angle + sine * total) if odd else sine * total
        out[chosen] = np.clip(1 - within, 0.0, 1.0)
    return out


def adjusted(p: Floats, family: Integers) -> Floats:
    """Benjamini and Hochberg's adjusted p-values within each family: the smallest rate of false discoveries at which each is one.

    The procedure holds under independence and under positive dependence, and series of one organisation depend positively: sales,
    orders and items rise and fall together. (Benjamini and Yekutieli's, for any dependence, costs a factor of 3 at ten series.)
    """
    if not len(p):
        return p.astype(np.float64)
    order = np.lexsort((p, family))
    ordered, groups = p[order], family[order]
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    sizes = np.diff(np.r_[starts, len(p)])
    number = np.repeat(np.arange(len(starts)), sizes)
    rank = np.arange(len(p)) - np.repeat(starts, sizes) + 1
    raised = np.minimum(ordered * np.repeat(sizes, sizes) / rank, 1.0)
    # From the last to the first, the least so far; each family lies 2 above the one before it, so that none reaches into another.
    least = np.minimum.accumulate((raised + 2.0 * number)[::-1])[::-1] - 2.0 * number
    out = np.empty(len(p))
    out[order] = least
    return out


@dataclass(frozen=True)
class Share:
    """A share beside its baseline. p: two-sided; NaN where there is nothing to compare."""

    rate: Floats
    base: Floats
    p: Floats


def compare_share(part: Floats, whole: Floats, parts: Floats, wholes: Floats) -> Share:
    """part / whole beside the last axis of parts / wholes: quasi-binomial, with the baseline's own dispersion (at least 1).

    The null hypothesis: both are drawn from one share, with the dispersion that the baseline's units show around it.
    Units of the baseline that are missing (NaN) or empty do not count.
    """
    seen = ~np.isnan(parts) & (np.nan_to_num(wholes) > 0)
    parts, wholes = np.where(seen, parts, 0.0), np.where(seen, wholes, 0.0)
    units, total = seen.sum(axis=-1), wholes.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        base = parts.sum(axis=-1) / total
        # Refunds can be more than orders: the variance does not vanish where a share reaches one.
        variance = base * np.maximum(1 - base, 0.05)
        pearson = (
            np.where(seen, (parts - wholes * base[..., None]) ** 2 / np.where(seen, wholes, 1.0), 0.0).sum(axis=-1) / variance
        )
        dispersion = np.maximum(pearson / (units - 1), 1.0)
        rate = part / whole
        t = (rate - base) / np.sqrt(dispersion * variance * (1 / whole + 1 / total))
    return Share(rate, base, two_sided(np.where(np.isfinite(t), t, np.nan), np.maximum(units - 1, 0)))


def windows(values: NDArray[Any], length: int) -> NDArray[Any]:
    """All windows of so many columns: (rows, columns - length + 1, length), without a copy."""
    if values.shape[1] < length:
        return np.empty((values.shape[0], 0, length))
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=1)


def nothing_missing(values: Floats) -> Bools:
    return np.asarray(~np.isnan(values).any(axis=-1))
