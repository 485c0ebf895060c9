"""Intensity of each marker over the time since the onset, responding against control cells."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from dynaclr.config.columns import MARKER
from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.bootstrap import (
    MAX_BOOTSTRAP,
    MIN_CLUSTERS,
    cluster_bootstrap,
    percentile_interval,
    seed_of,
)
from dynaclr.evaluation.tables import Row

# Of the intensity baseline: mean, and standard deviation within the patch.
STATISTICS = ("intensity_mean", "intensity_std")


def timing_rows(
    inputs: EvaluationInputs,
    variant: Variant,
    experiment: str,
    trajectories: pd.DataFrame,
    intensities: pd.DataFrame,
) -> list[Row]:
    """Rows of the table of markers' timing, of one experiment.

    A point is a mean over the responding observations of a window of hours since the onset. Control
    cells have no onset: beside it stands their mean at the hours of those observations, which the
    responding cells would have without a response.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
        By which tracks were aligned.
    experiment : str
    trajectories : pandas.DataFrame
        Of `trajectory_table`.
    intensities : pandas.DataFrame
        Features of the intensity baseline, by name, of all observations.

    Returns
    -------
    list of dict
    """
    since_onset = np.full(len(inputs.obs), np.nan)
    since_onset[trajectories.index] = trajectories["hours_since_onset"]
    control = inputs.control
    if control is None:
        return []
    used = control | np.isfinite(since_onset)
    rows = []
    for marker, statistic, values, here in _by_marker(inputs, intensities):
        kept = np.flatnonzero(used & here & np.isfinite(values))
        columns = {**variant.columns, "experiment": experiment}
        columns |= {"marker": marker, "statistic": statistic}
        given = (inputs, kept, control[kept], since_onset[kept], values[kept])
        rows += [{**columns, **point} for point in _points(*given, seed_of(experiment))]
    return rows


def _by_marker(
    inputs: EvaluationInputs, intensities: pd.DataFrame
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Marker, statistic, its values, and which observations are of the marker."""
    everything = np.ones(len(inputs.obs), dtype=bool)
    for name in intensities.columns:
        statistic, _, marker = str(name).partition(":")
        if statistic not in STATISTICS:
            continue
        values = intensities[name].to_numpy(np.float64)
        if marker or MARKER not in inputs.obs:
            yield marker, statistic, values, everything
            continue
        for one in sorted(inputs.obs[MARKER].unique()):
            yield one, statistic, values, (inputs.obs[MARKER] == one).to_numpy()


def _points(
    inputs: EvaluationInputs,
    rows: np.ndarray,
    control: np.ndarray,
    since_onset: np.ndarray,
    values: np.ndarray,
    seed: int,
) -> Iterator[Row]:
    width = 0.5 * inputs.config.window_hours
    lineages = inputs.lineages[rows]
    windows = np.where(control, np.nan, np.floor(since_onset / width + 1e-9))
    hours = np.floor(inputs.hours[rows] / width + 1e-9)
    drawn = [w for w in np.unique(windows[~control]) if _is_enough(lineages[windows == w])]
    if not drawn or not control.any():
        return
    of_window = windows[:, np.newaxis] == drawn
    of_hour = (hours[:, np.newaxis] == np.unique(hours)).astype(float)
    mean = partial(_curves, of_window, of_hour, control, values)
    curves = mean(np.ones((1, len(rows))))
    n_resamples = min(MAX_BOOTSTRAP, inputs.config.bootstrap)
    resampled = cluster_bootstrap(mean, lineages, n_resamples, seed)
    for group, curve in curves.items():
        for number, window in enumerate(drawn):
            counted = of_window[:, number]
            n_lineages = len(np.unique(lineages[counted]))
            low, high, _ = percentile_interval(resampled[group][:, number], n_lineages)
            yield {
                **{"group": group, "hours": (window + 0.5) * width},
                **{"value": curve[0, number], "low": low, "high": high},
                **{"n_rows": int(counted.sum()), "n_lineages": n_lineages},
            }


def _is_enough(lineages: np.ndarray) -> bool:
    return len(np.unique(lineages)) >= MIN_CLUSTERS


def _curves(
    of_window: np.ndarray,
    of_hour: np.ndarray,
    control: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
) -> dict[str, np.ndarray]:
    """Means of responding and of control observations in each window, shape (r, windows)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        responding = (weight * values) @ of_window / (weight @ of_window)
        of_control = weight * control
        by_hour = (of_control * values) @ of_hour / (of_control @ of_hour)
        # Observations of each hour in a window, (windows, hours); hours without controls are left
        # out.
        shares = of_window.T @ of_hour
        known = np.isfinite(by_hour)
        matched = np.where(known, by_hour, 0.0) @ shares.T / (known @ shares.T)
    return {"responding": responding, "control": matched}
