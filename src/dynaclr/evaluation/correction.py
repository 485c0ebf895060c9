"""Corrections of a finished embedding that every model is held against: z-score and transport.

Each takes the features of all experiments and returns corrected ones. Neither knows labels; the
transport uses which cells are controls, as a person correcting batch effects would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.covariance import ledoit_wolf

from dynaclr.io.embeddings import Cohort

# Fewer control cells of an experiment than this say nothing about a covariance.
MIN_CONTROLS = 10

Correction = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def zscore_by_experiment(
    features: np.ndarray,
    experiments: np.ndarray,
    control: np.ndarray | None = None,
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """Mean 0 and variance 1 of every feature within every experiment; a constant one becomes 0.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing, and stays so.
    experiments : numpy.ndarray
        Shape (n,).
    control, reference : numpy.ndarray, optional
        Not used: all cells of an experiment count.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    corrected = np.array(features, dtype=np.float64)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        part = corrected[here]
        empty = np.isnan(part).all(axis=0)
        known = np.where(empty, 0.0, part)
        mean, deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
        corrected[here] = (part - mean) / np.where(constant, np.inf, deviation)
    return corrected


def transport_controls(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Move every experiment by the linear map that brings its control cells to the common ones.

    The map is the optimal transport between normal distributions (`gaussian_transport`) from the
    experiment's control cells to the mean of the reference experiments' control cells (means and
    covariances averaged over experiments). It then moves all cells of the experiment. An
    experiment with fewer than `MIN_CONTROLS` control cells stays where it is.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing: taken at the experiment's mean.
    experiments : numpy.ndarray
        Shape (n,).
    control, reference : numpy.ndarray
        bool, shape (n,): control cells, and cells of the experiments that define the target.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    moved = np.array(features, dtype=np.float64)
    moments = {}
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        moved[here] = _filled(moved[here])
        controls = moved[here & control]
        if len(controls) >= MIN_CONTROLS:
            moments[name] = (controls.mean(axis=0), ledoit_wolf(controls)[0])
    target = [moments[name] for name in moments if reference[experiments == name].any()]
    if not target:
        return moved
    goal_mean, goal_covariance = (np.mean(part, axis=0) for part in zip(*target, strict=True))
    for name, (mean, covariance) in moments.items():
        here = experiments == name
        matrix = gaussian_transport(covariance, goal_covariance)
        moved[here] = goal_mean + (moved[here] - mean) @ matrix
    return moved


def gaussian_transport(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Matrix of the optimal transport between normal distributions of two covariances.

    ``A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2``, symmetric, with ``A S A = T``. Peyre and Cuturi
    (2019), *Computational Optimal Transport*, remark 2.31.

    Parameters
    ----------
    source, target : numpy.ndarray
        Covariances, shape (d, d); directions in which the source does not vary stay as they are.
    """
    values, vectors = np.linalg.eigh(source)
    flat = values <= 1e-10 * max(values.max(), 1e-300)
    root = np.where(flat, 0.0, np.sqrt(np.maximum(values, 0.0)))
    inverse = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, root))
    half, unhalf = (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
    middle_values, middle_vectors = np.linalg.eigh(half @ target @ half)
    middle = (middle_vectors * np.sqrt(np.maximum(middle_values, 0.0))) @ middle_vectors.T
    return unhalf @ middle @ unhalf + (vectors * flat) @ vectors.T


def _filled(features: np.ndarray) -> np.ndarray:
    known = np.where(np.isnan(features).all(axis=0), 0.0, features)
    return np.where(np.isnan(known), np.nanmean(known, axis=0), known)


CORRECTIONS: dict[str, Correction] = {
    "zscore": zscore_by_experiment,
    "transport": transport_controls,
}


def left_as_they_are(experiments: np.ndarray, control: np.ndarray) -> list[str]:
    """Experiments with too few control cells to be transported."""
    names = np.unique(experiments.astype(str))
    return [str(name) for name in names if (control & (experiments == name)).sum() < MIN_CONTROLS]


def with_corrections(cohort: Cohort, control: np.ndarray | None, reference: np.ndarray) -> Cohort:
    """The cohort with every variant once more after each correction: ``seed0+zscore``.

    Parameters
    ----------
    cohort : Cohort
    control : numpy.ndarray or None
        bool, control cells; None when no condition is named the control: no transport then.
    reference : numpy.ndarray
        bool, cells of the training experiments.
    """
    experiments = cohort.obs["experiment"].to_numpy(dtype=object)
    features, names = dict(cohort.features), dict(cohort.feature_names)
    for correction, function in CORRECTIONS.items():
        if correction == "transport" and control is None:
            continue
        for variant, values in cohort.features.items():
            corrected = function(values, experiments, control, reference)
            features[f"{variant}+{correction}"] = corrected.astype(np.float32)
            names[f"{variant}+{correction}"] = cohort.feature_names[variant]
    return replace(cohort, features=features, feature_names=names)
