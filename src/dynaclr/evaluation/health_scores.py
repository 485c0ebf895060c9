"""Scores of an embedding's health: dimensions in use, norms, neighbourhoods."""

from __future__ import annotations

import numpy as np

from dynaclr.config.metrics import ALL
from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics import health
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.metrics.temporal import adjacent_pairs
from dynaclr.evaluation.tables import MetricValue, Rows, metric_rows
from dynaclr.evaluation.tasks import combined_codes
from dynaclr.io.subsample import balanced_subsample

MAX_ROWS = 1500


def health_rows(inputs: EvaluationInputs, variant: Variant) -> Rows:
    """Rows about the health of one variant in the scored experiments, equally many of each.

    Neighbours of the same experiment are searched among the mixed experiments.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant

    Returns
    -------
    Rows
    """
    features = np.nan_to_num(inputs.embeddings.features[variant.name].astype(np.float64))
    chosen = _sample(inputs, inputs.scored)
    sample, n = features[chosen], len(chosen)
    standardized = standardize(sample)
    norm, variation = health.norm_distribution(sample)
    here = inputs.rows_of(inputs.scored)
    earlier, later = adjacent_pairs(inputs.tracks[here], inputs.t[here])
    pairs = np.random.default_rng(inputs.seed).permutation(len(earlier))[:MAX_ROWS]
    alignment = health.alignment(features[here[earlier[pairs]]], features[here[later[pairs]]])
    values = {
        "effective_rank": MetricValue(health.effective_rank(sample), n_rows=n),
        "alignment": MetricValue(
            alignment, n_rows=len(pairs), note="between adjacent frames of a track"
        ),
        "uniformity": MetricValue(health.uniformity(sample), n_rows=n),
        "norm_mean": MetricValue(norm, n_rows=n),
        "norm_variation": MetricValue(variation, n_rows=n),
        "purity_lineage": _purity(standardized, inputs.lineages[chosen]),
        "purity_hour": _purity(standardized, inputs.hours[chosen], tolerance=1.0),
    }
    mixed = _sample(inputs, inputs.mixed)
    experiments = combined_codes(inputs.experiments[mixed])
    across = {"purity_experiment": _purity(standardize(features[mixed]), experiments)}
    columns = {**variant.columns, "experiment": ALL}
    rows = metric_rows(values, **columns, estimate=inputs.scope)
    return Rows(rows + metric_rows(across, **columns, estimate=inputs.mixed_scope), [])


def _sample(inputs: EvaluationInputs, experiments: list[str]) -> np.ndarray:
    rows = inputs.rows_of(experiments)
    return rows[balanced_subsample(inputs.experiments[rows], MAX_ROWS, inputs.seed)]


def _purity(features: np.ndarray, values: np.ndarray, tolerance: float = 0.0) -> MetricValue:
    purity, expected = health.neighbour_purity(features, values, tolerance)
    note = "of 15 nearest neighbours, features standardized"
    return MetricValue(purity, expected, len(values), note)
