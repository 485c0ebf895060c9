"""Scores of movement in the embedding: smoothness, displacement over lag, progression."""

from __future__ import annotations

import numpy as np

from dynaclr.config.metrics import ALL
from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.bootstrap import MAX_BOOTSTRAP, cluster_bootstrap, seed_of
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.metrics.temporal import (
    LinearPredictor,
    adjacent_pairs,
    displacement,
    displacement_exponent,
    fit_progression,
    r_squared,
    smoothness,
)
from dynaclr.evaluation.tables import MetricValue, Row, Rows, metric_rows, value_with_interval
from dynaclr.io.subsample import balanced_subsample

MAX_ROWS = 4000
MAX_LAGS = 12


def fit_progression_of(inputs: EvaluationInputs, variant: Variant) -> LinearPredictor | None:
    """Predictor of the true progression, fitted on training experiments; None without truth.

    Parameters
    ----------
    inputs : EvaluationInputs
        Of the training experiments.
    variant : Variant
    """
    if "progression" not in inputs.truth:
        return None
    progression = inputs.truth["progression"]
    train = np.flatnonzero(np.isfinite(progression) & np.isin(inputs.experiments, inputs.train))
    train = train[balanced_subsample(inputs.experiments[train], MAX_ROWS, inputs.seed)]
    if len(np.unique(inputs.lineages[train])) < 2:
        return None
    features = np.nan_to_num(inputs.features[variant.name][train])
    return fit_progression(features, progression[train], inputs.lineages[train])


def temporal_rows(
    inputs: EvaluationInputs, variant: Variant, predictor: LinearPredictor | None
) -> Rows:
    """Rows about one variant's change over time, of each scored experiment.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    predictor : LinearPredictor or None
        Of the true progression, from `fit_progression_of`.

    Returns
    -------
    Rows
    """
    rows = Rows([], [])
    for name in inputs.scored:
        one = _of_experiment(inputs, variant, name, predictor)
        rows.metrics.extend(one.metrics)
        rows.curves.extend(one.curves)
    return rows


def pooled_smoothness_rows(inputs: EvaluationInputs, variant: Variant) -> list[Row]:
    """Row about the smoothness where random pairs span experiments; inputs are samples of them."""
    here = _whole_tracks(inputs, inputs.rows_of(inputs.mixed))
    features = standardize(inputs.features[variant.name][here])
    smooth = smoothness(features, inputs.tracks[here], inputs.t[here], inputs.seed)
    note = "random pairs span experiments: the further those lie apart, the smoother it looks"
    values = {"smoothness_pooled": MetricValue(smooth.ratio, 1.0, smooth.n_pairs, note)}
    columns = {**variant.columns, "experiment": ALL, "estimate": inputs.mixed_scope}
    return metric_rows(values, **columns)


def _of_experiment(
    inputs: EvaluationInputs,
    variant: Variant,
    experiment: str,
    predictor: LinearPredictor | None,
) -> Rows:
    here = _whole_tracks(inputs, inputs.rows_of([experiment]))
    features = standardize(inputs.features[variant.name][here])
    tracks, t = inputs.tracks[here], inputs.t[here]
    smooth = smoothness(features, tracks, t, inputs.seed)
    lags, msd, n_pairs = displacement(features, tracks, t, MAX_LAGS)
    frame_hours = _hours_per_frame(inputs, here)
    note = f"per frame of {frame_hours:.3g} h"
    values = {
        "smoothness": MetricValue(smooth.ratio, 1.0, smooth.n_pairs, note),
        "dynamic_range": MetricValue(smooth.dynamic_range, 0.0, smooth.n_pairs, note),
        "msd_exponent": MetricValue(displacement_exponent(lags, msd), 0.0, len(here)),
    }
    if "progression" in inputs.truth:
        values["progression_r2"] = _progression(inputs, variant, experiment, predictor)
    columns = {**variant.columns, "experiment": experiment}
    return Rows(
        metric_rows(values, **columns, estimate=inputs.scope),
        [
            {**columns, "metric": "msd", "hours": lag * frame_hours, "value": value, "n_rows": n}
            for lag, value, n in zip(lags, msd, n_pairs, strict=True)
        ],
    )


def _progression(
    inputs: EvaluationInputs,
    variant: Variant,
    experiment: str,
    predictor: LinearPredictor | None,
) -> MetricValue:
    """R2 of the true progression in one experiment, predicted from the training experiments."""
    progression, rows = inputs.truth["progression"], inputs.rows_of([experiment])
    rows = rows[np.isfinite(progression[rows])]
    if predictor is None or len(rows) < 2:
        return MetricValue(np.nan, 0.0, len(rows), "too few cells with true progression")
    if not inputs.held_out:
        return MetricValue(np.nan, 0.0, len(rows), "nothing is held out")
    predicted = predictor.predict(np.nan_to_num(inputs.features[variant.name][rows]))
    true, lineages = progression[rows], inputs.lineages[rows]
    resampled = cluster_bootstrap(
        lambda weight: {"r2": r_squared(true, predicted, weight)},
        lineages,
        min(MAX_BOOTSTRAP, inputs.config.bootstrap),
        seed_of(experiment, inputs.seed),
    )["r2"]
    value = float(r_squared(true, predicted))
    return value_with_interval(value, 0.0, len(rows), resampled, len(np.unique(lineages)))


def _whole_tracks(inputs: EvaluationInputs, rows: np.ndarray) -> np.ndarray:
    """Rows of whole tracks, drawn at random, about `MAX_ROWS` of them where there are more."""
    if len(rows) <= MAX_ROWS:
        return rows
    tracks = np.unique(inputs.tracks[rows])
    n_tracks = max(1, int(MAX_ROWS / len(rows) * len(tracks)))
    kept = np.random.default_rng(inputs.seed).permutation(tracks)[:n_tracks]
    return rows[np.isin(inputs.tracks[rows], kept)]


def _hours_per_frame(inputs: EvaluationInputs, rows: np.ndarray) -> float:
    earlier, later = adjacent_pairs(inputs.tracks[rows], inputs.t[rows])
    if len(earlier) == 0:
        return np.nan
    hours = inputs.hours[rows]
    return float(np.median(hours[later] - hours[earlier]))
