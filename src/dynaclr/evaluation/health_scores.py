"""Scores of an embedding's health: dimensions in use, norms, neighbourhoods."""

from __future__ import annotations

import numpy as np

from dynaclr.config.metrics import ALL
from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics import health
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.metrics.temporal import adjacent_pairs
from dynaclr.evaluation.tables import MetricValue, Row, metric_rows
from dynaclr.evaluation.tasks import combined_codes
from dynaclr.io.subsample import balanced_subsample

MAX_ROWS = 1500


def health_rows(inputs: EvaluationInputs, variant: Variant) -> list[Row]:
    """Rows about the health of one variant, of each scored experiment.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant

    Returns
    -------
    list of dict
    """
    rows: list[Row] = []
    for name in inputs.scored:
        columns = {**variant.columns, "experiment": name, "estimate": inputs.scope}
        rows += metric_rows(_of_experiment(inputs, variant, name), **columns)
    return rows


def experiment_purity_rows(inputs: EvaluationInputs, variant: Variant) -> list[Row]:
    """Row about neighbours of the same experiment; inputs are samples of the experiments."""
    mixed = _sample(inputs, inputs.mixed)
    experiments = combined_codes(inputs.experiments[mixed])
    features = standardize(np.nan_to_num(inputs.features[variant.name][mixed]))
    columns = {**variant.columns, "experiment": ALL, "estimate": inputs.mixed_scope}
    return metric_rows({"purity_experiment": _purity(features, experiments)}, **columns)


def _of_experiment(
    inputs: EvaluationInputs, variant: Variant, experiment: str
) -> dict[str, MetricValue]:
    features = inputs.features[variant.name]
    chosen = _sample(inputs, [experiment])
    sample, n = np.nan_to_num(features[chosen].astype(np.float64)), len(chosen)
    standardized = standardize(sample)
    norm, variation = health.norm_distribution(sample)
    here = inputs.rows_of([experiment])
    pairs = adjacent_pairs(inputs.tracks[here], inputs.t[here])
    drawn = np.random.default_rng(inputs.seed).permutation(len(pairs[0]))[:MAX_ROWS]
    ends = [np.nan_to_num(features[here[rows[drawn]]].astype(np.float64)) for rows in pairs]
    note = "between adjacent frames of a track"
    return {
        "effective_rank": MetricValue(health.effective_rank(sample), n_rows=n),
        "alignment": MetricValue(health.alignment(*ends), n_rows=len(drawn), note=note),
        "uniformity": MetricValue(health.uniformity(sample), n_rows=n),
        "norm_mean": MetricValue(norm, n_rows=n),
        "norm_variation": MetricValue(variation, n_rows=n),
        "purity_lineage": _purity(standardized, inputs.lineages[chosen]),
        "purity_hour": _purity(standardized, inputs.hours[chosen], tolerance=1.0),
    }


def _sample(inputs: EvaluationInputs, experiments: list[str]) -> np.ndarray:
    rows = inputs.rows_of(experiments)
    return rows[balanced_subsample(inputs.experiments[rows], MAX_ROWS, inputs.seed)]


def _purity(features: np.ndarray, values: np.ndarray, tolerance: float = 0.0) -> MetricValue:
    purity, expected = health.neighbour_purity(features, values, tolerance)
    note = "of 15 nearest neighbours, features standardized"
    return MetricValue(purity, expected, len(values), note)
