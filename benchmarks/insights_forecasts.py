"""Forecasts with intervals by statsforecast, week by week: a program of its own, since statsforecast holds pandas below 3.

    python benchmarks/insights_forecasts.py MODEL VALUES.npy DEPARTURES.npy

MODEL: seasonal_naive (the same hour of the week before) or mstl (day and week, its default trend). Every week is forecast from the
28 days before it; written is how far each hour departs, in units of half the 99 % interval. The CPU seconds of it are printed.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from pathlib import Path

import numpy as np

_DAY, _WEEK = 24, 168
_PAST = 28 * _DAY
_LEVEL = 99


def main() -> int:
    """Runs it. Returns the exit status."""
    warnings.simplefilter("ignore")
    models = importlib.import_module("statsforecast.models")
    model = models.SeasonalNaive(_WEEK) if sys.argv[1] == "seasonal_naive" else models.MSTL([_DAY, _WEEK])
    values = np.load(Path(sys.argv[2]))
    departures = np.full(values.shape, np.nan, dtype=np.float32)
    model.forecast(values[0, :_PAST], h=_WEEK, level=[_LEVEL])  # compiled
    started = time.process_time()
    for row, series in enumerate(values):
        for start in range(_PAST, len(series), _WEEK):
            found = model.forecast(series[start - _PAST : start], h=_WEEK, level=[_LEVEL])
            mean = found["mean"]
            half = np.maximum(found[f"hi-{_LEVEL}"] - mean, 1e-9)
            hours = slice(start, min(start + _WEEK, len(series)))
            departures[row, hours] = (series[start : start + _WEEK] - mean[: hours.stop - start]) / half[: hours.stop - start]
    print(time.process_time() - started)
    np.save(Path(sys.argv[3]), departures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
