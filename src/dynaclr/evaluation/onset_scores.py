"""Scores of onsets: when single tracks respond, compared with the true onset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.bootstrap import MAX_BOOTSTRAP, cluster_bootstrap, seed_of
from dynaclr.evaluation.metrics.onset import (
    control_threshold,
    onset_of_track,
    response_axis,
    scaled_by_controls,
    weighted_median,
)
from dynaclr.evaluation.tables import (
    MetricValue,
    Row,
    join_tables,
    metric_rows,
    value_with_interval,
)
from dynaclr.io.embeddings import key_of

MIN_OBSERVATIONS = 3


def fit_response_axis(inputs: EvaluationInputs, variant: Variant) -> np.ndarray | None:
    """Axis from control to treated observations of the training experiments; None without them.

    Treated observations are those of the later half of the hours; features are in units of each
    experiment's controls.

    Parameters
    ----------
    inputs : EvaluationInputs
        Of the training experiments.
    variant : Variant

    Returns
    -------
    numpy.ndarray or None
        float64, shape (d,).
    """
    if inputs.control is None:
        return None
    features = np.nan_to_num(inputs.features[variant.name])
    scaled = scaled_by_controls(features, inputs.experiments, inputs.control)
    train = np.isin(inputs.experiments, inputs.train) & np.isfinite(scaled).all(axis=1)
    control = train & inputs.control
    if not control.any():
        return None
    hours = inputs.hours[train]
    late = train & ~inputs.control & (inputs.hours >= 0.5 * float(hours.min() + hours.max()))
    return response_axis(scaled[late], scaled[control]) if late.any() else None


def onset_rows(
    inputs: EvaluationInputs, variant: Variant, axis: np.ndarray | None
) -> tuple[list[Row], pd.DataFrame]:
    """Onset of the response of every track of the scored experiments.

    The signal is the projection on the axis from control to treated observations, in units of the
    experiment's controls; the threshold is what 95 % of the experiment's control observations stay
    below.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    axis : numpy.ndarray or None
        Of `fit_response_axis`.

    Returns
    -------
    rows : list of dict
        Rows of the metrics table: the share of control tracks that seem to respond and, where the
        truth is known, error and coverage of onsets.
    onsets : pandas.DataFrame
        experiment, fov, track_id, (marker,) condition, hours, low, high of each track.
    """
    rows: list[Row] = []
    tables: list[pd.DataFrame] = []
    if axis is None or inputs.control is None:
        return rows, pd.DataFrame()
    features = np.nan_to_num(inputs.features[variant.name])
    signal = scaled_by_controls(features, inputs.experiments, inputs.control) @ axis
    for name in inputs.scored:
        here = np.flatnonzero((inputs.experiments == name) & np.isfinite(signal))
        controls = here[inputs.control[here]]
        if not len(controls):
            continue
        table = _onsets(inputs, signal, here, control_threshold(signal[controls]))
        values = _onset_values(inputs, name, table)
        columns = {**variant.columns, "experiment": name}
        rows.extend(metric_rows(values, **columns, estimate=inputs.scope))
        tables.append(table.assign(**variant.columns))
    return rows, join_tables(tables)


def _onsets(
    inputs: EvaluationInputs, signal: np.ndarray, rows: np.ndarray, threshold: float
) -> pd.DataFrame:
    """Onset of each track with enough observations among the rows."""
    order = rows[np.lexsort((inputs.hours[rows], inputs.tracks[rows]))]
    starts = np.flatnonzero(np.diff(inputs.tracks[order], prepend=-1))
    key = [name for name in (*key_of(inputs.obs), "condition") if name != "t"]
    found = []
    for track in np.split(order, starts[1:]):
        if len(track) < MIN_OBSERVATIONS:
            continue
        hours, first = inputs.hours[track], inputs.obs.iloc[track[0]]
        true = inputs.truth["onset"][track[0]] if "onset" in inputs.truth else np.nan
        onset = onset_of_track(hours, signal[track], threshold)
        found.append(
            {name: first[name] for name in key}
            | {"lineage": inputs.lineages[track[0]], **onset._asdict()}
            | {"true_hours": true if hours[0] < true <= hours[-1] else np.nan}
        )
    return pd.DataFrame(found)


def _onset_values(
    inputs: EvaluationInputs, experiment: str, table: pd.DataFrame
) -> dict[str, MetricValue]:
    if table.empty:
        note = f"no track with {MIN_OBSERVATIONS} observations"
        return {"onset_control_rate": MetricValue(np.nan, note=note)}
    control = table["condition"] == inputs.config.control
    rose = np.isfinite(table["high"])
    rate = MetricValue(np.nan, note="no control track is long enough")
    if control.any():
        rate = MetricValue(float(rose[control].mean()), n_rows=int(control.sum()))
    values = {"onset_control_rate": rate}
    if "onset" in inputs.truth:
        known = table[~control & table["true_hours"].notna()]
        n_resamples = min(MAX_BOOTSTRAP, inputs.config.bootstrap)
        values |= _errors(known, n_resamples, seed_of(experiment, inputs.seed))
    return values


def _errors(known: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, MetricValue]:
    """Median error and coverage of the onsets whose true time is known."""
    if known.empty:
        missing = MetricValue(np.nan, note="no track with a true onset while it was seen")
        return {"onset_error_hours": missing, "onset_coverage": missing}
    true, found = known["true_hours"].to_numpy(), known["hours"].to_numpy()
    errors, seen = np.abs(found - true), np.isfinite(found)
    lineages = known["lineage"].to_numpy()

    def statistics(weight: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "onset_error_hours": weighted_median(errors[seen], weight[:, seen]),
            "onset_coverage": weight @ seen / weight.sum(axis=1),
        }

    values = statistics(np.ones((1, len(known))))
    resampled = cluster_bootstrap(statistics, lineages, n_resamples, seed)
    note = f"median over {seen.sum()} of {len(known)} tracks; expected: of one hour for all"
    of_one_hour = float(np.median(np.abs(true - np.median(true))))
    context = {"onset_error_hours": (of_one_hour, note), "onset_coverage": (np.nan, "")}
    n_rows, n_lineages = len(known), len(np.unique(lineages))
    return {
        name: value_with_interval(
            float(values[name][0]), expected, n_rows, resampled[name], n_lineages, note
        )
        for name, (expected, note) in context.items()
    }
