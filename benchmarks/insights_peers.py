"""What insights are measured beside: seasonal naive and MSTL with intervals (statsforecast), median and MAD by hour of week."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.command import WrongResult
from benchmarks.insights_world import LEAD, WEEK, Floats

STATSFORECAST = "statsforecast==2.1.1"
# Weeks that the median of an hour of the week is taken over.
_WEEKS = 8
_LEAST_WEEKS = 4
#: Iglewicz and Hoaglin's modified z score: an outlier beyond 3.5.
MODIFIED_Z = 3.5


def peers_python(folder: Path, progress: Callable[[str], None]) -> Path:
    """The interpreter of a virtual environment of its own with statsforecast, made where there is none."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (
        python.exists()
        and not subprocess.run([python, "-c", "import statsforecast"], capture_output=True, check=False).returncode
    ):
        return python
    progress(f"{STATSFORECAST} into {folder} (half a gigabyte, once)")
    venv.create(folder, with_pip=True)
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", STATSFORECAST],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WrongResult(f"{STATSFORECAST} could not be installed into {folder}: {done.stderr.strip()[-500:]}")
    return python


def forecasts(python: Path, model: str, values: Floats) -> tuple[Floats, float]:
    """Departures from what statsforecast expected, in units of half its interval, and the CPU seconds of it."""
    with tempfile.TemporaryDirectory(prefix="analytics-bench-") as folder:
        given, found = Path(folder) / "values.npy", Path(folder) / "departures.npy"
        np.save(given, values)
        program = Path(__file__).with_name("insights_forecasts.py")
        done = subprocess.run(
            [python, program, model, given, found],
            capture_output=True,
            text=True,
            check=False,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        if done.returncode:
            raise WrongResult(f"{model}: {done.stderr.strip()[-500:]}")
        return np.load(found).astype(np.float64), float(done.stdout)


def median_mad(values: Floats) -> tuple[Floats, float]:
    """Modified z of each hour beside the same hour of the eight weeks before it, and the CPU seconds of it."""
    started = time.process_time()
    out = np.full(values.shape, np.nan)
    for start in range(LEAD, values.shape[1], WEEK):
        weeks = min(start // WEEK, _WEEKS)
        if weeks < _LEAST_WEEKS:
            continue
        past = values[:, start - weeks * WEEK : start].reshape(len(values), weeks, WEEK)
        middle = np.median(past, axis=1)
        spread = np.median(np.abs(past - middle[:, None]), axis=1)
        now = values[:, start : start + WEEK]
        size = now.shape[1]
        out[:, start : start + size] = 0.6745 * (now - middle[:, :size]) / np.maximum(spread[:, :size], 0.6745)
    return out, time.process_time() - started
