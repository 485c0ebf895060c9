"""Scores of onsets: when single tracks respond, compared with the true onset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynaclr.config.metrics import join_notes
from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.bootstrap import (
    MAX_BOOTSTRAP,
    cluster_bootstrap,
    percentile_interval,
    seed_of,
)
from dynaclr.evaluation.metrics.onset import RISEN, RISING, weighted_median
from dynaclr.evaluation.tables import (
    MetricValue,
    Row,
    metric_rows,
    value_with_interval,
)
from dynaclr.evaluation.track_onsets import MIN_OBSERVATIONS, TrackOnsets, true_onset
from dynaclr.io.embeddings import key_of

USELESS = "no better than one hour for all cells: do not use these onsets"
UNCERTAIN = "better than one hour for all cells, but maybe by chance"
BY_LIMITS = f"{RISING + RISEN:.1%} of control tracks exceed the limits, which are set by them"


def onset_table(
    inputs: EvaluationInputs, variant: Variant, tracks: TrackOnsets, delay: float
) -> pd.DataFrame:
    """Onset of the response of every track of one experiment that is long enough.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    tracks : TrackOnsets
    delay : float
        Hours that the rise comes after the onset.

    Returns
    -------
    pandas.DataFrame
        experiment, fov, track_id, (marker,) condition, lineage, hours, low, high, true_hours, and
        the columns of the variant.
    """
    key = [name for name in (*key_of(inputs.obs), "condition") if name != "t"]
    found = []
    for rows, onset in zip(tracks.rows, tracks.onsets, strict=True):
        if onset is not None:
            first = inputs.obs.iloc[rows[0]]
            found.append(
                {name: first[name] for name in key}
                | {"lineage": inputs.lineages[rows[0]], **onset.earlier(delay)._asdict()}
                | {"true_hours": true_onset(inputs, rows)}
            )
    return pd.DataFrame(found).assign(**variant.columns)


def onset_rows(
    inputs: EvaluationInputs, variant: Variant, experiment: str, table: pd.DataFrame
) -> list[Row]:
    """Rows of the metrics table about the onsets of one experiment.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    experiment : str
    table : pandas.DataFrame
        Of `onset_table`.

    Returns
    -------
    list of dict
        The shares of treated and of control tracks that rise while they are seen and, where the
        truth is known, error and coverage of onsets.
    """
    control = (table["condition"] == inputs.config.control).to_numpy()
    rises = np.isfinite(table["hours"].to_numpy(np.float64))
    responds = np.isfinite(table["high"].to_numpy(np.float64))
    n_resamples = min(MAX_BOOTSTRAP, inputs.config.bootstrap)
    seed = seed_of(experiment, inputs.seed)
    values = {
        "onset_control_rate": MetricValue(
            float(responds[control].mean()), RISING + RISEN, int(control.sum()), BY_LIMITS
        ),
        "onset_rate": _rate(table[~control], rises[~control], rises[control], n_resamples, seed),
    }
    if "onset" in inputs.truth:
        known = table[~control & table["true_hours"].notna()]
        values |= _errors(known, n_resamples, seed)
    columns = {**variant.columns, "experiment": experiment, "estimate": inputs.scope}
    return metric_rows(values, **columns)


def _rate(
    treated: pd.DataFrame, rises: np.ndarray, of_control: np.ndarray, n_resamples: int, seed: int
) -> MetricValue:
    """Share of the treated tracks that rise, beside that of the control tracks."""
    if treated.empty:
        note = f"no treated track with {MIN_OBSERVATIONS} observations"
        return MetricValue(np.nan, note=note)
    lineages = treated["lineage"].to_numpy()
    resampled = cluster_bootstrap(
        lambda weight: {"rate": weight @ rises / weight.sum(axis=1)}, lineages, n_resamples, seed
    )["rate"]
    n_lineages, expected = len(np.unique(lineages)), float(of_control.mean())
    note = "expected: of control tracks"
    value = float(rises.mean())
    return value_with_interval(value, expected, len(treated), resampled, n_lineages, note)


def _errors(known: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, MetricValue]:
    """Median error and coverage of the onsets whose true time is known."""
    if known.empty:
        missing = MetricValue(np.nan, note="no track with a true onset while it was seen")
        names = ("onset_error_hours", "onset_coverage", "onset_within_bounds")
        return dict.fromkeys(names, missing)
    columns = known[["true_hours", "hours", "low", "high"]].to_numpy(np.float64)
    true, found, low, high = columns.T
    seen, lineages = np.isfinite(found), known["lineage"].to_numpy()
    errors, holds = np.abs(found - true)[seen], ((low <= true) & (true <= high))[seen]
    # Of one hour for all cells, which the truth itself gives.
    of_one_hour = np.abs(true - np.median(true))[seen]

    def statistics(weight: np.ndarray) -> dict[str, np.ndarray]:
        of_seen = weight[:, seen]
        n_seen = of_seen.sum(axis=1)
        error = weighted_median(errors, of_seen)
        nothing = np.full(len(weight), np.nan)
        return {
            "onset_error_hours": error,
            "onset_coverage": n_seen / weight.sum(axis=1),
            "onset_within_bounds": np.divide(of_seen @ holds, n_seen, nothing, where=n_seen > 0),
            "difference": error - weighted_median(of_one_hour, of_seen),
        }

    values = {name: float(of[0]) for name, of in statistics(np.ones((1, len(known)))).items()}
    resampled = cluster_bootstrap(statistics, lineages, n_resamples, seed)
    n_lineages = len(np.unique(lineages))
    _, highest, _ = percentile_interval(resampled["difference"], n_lineages)
    verdict = "" if highest < 0 else UNCERTAIN
    verdict = verdict if values["difference"] < 0 else USELESS
    of_tracks = f"median over {seen.sum()} of {len(known)} tracks; expected: of one hour for all"
    context = {
        "onset_error_hours": (
            float(np.median(of_one_hour)) if seen.any() else np.nan,
            join_notes(verdict, of_tracks),
        ),
        "onset_coverage": (np.nan, ""),
        "onset_within_bounds": (0.9, "expected: what bounds are meant to hold"),
    }
    return {
        name: value_with_interval(
            values[name], expected, len(known), resampled[name], n_lineages, note
        )
        for name, (expected, note) in context.items()
    }
