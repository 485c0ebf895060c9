"""Batch corrections of a finished embedding, as baselines: z-score and optimal transport.

Each takes the features of all experiments and returns corrected ones. Neither uses labels; the
transport uses which observations are controls, as a person correcting batch effects would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.covariance import ledoit_wolf

from dynaclr.evaluation.metrics.scaling import zscore
from dynaclr.io.embeddings import Embeddings

# Too few control observations of an experiment to estimate a covariance.
MIN_CONTROLS = 10

_Mask = np.ndarray | None
Correction = Callable[[np.ndarray, np.ndarray, _Mask, _Mask], np.ndarray]


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
        Shape (n, d); NaN where missing, and stays NaN.
    experiments : numpy.ndarray
        Shape (n,).
    control, reference : numpy.ndarray, optional
        Not used.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    corrected = np.array(features, dtype=np.float64)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        corrected[here] = zscore(corrected[here])
    return corrected


def transport_controls(
    features: np.ndarray,
    experiments: np.ndarray,
    control: np.ndarray | None,
    reference: np.ndarray | None,
) -> np.ndarray:
    """Move every experiment by the linear map that brings its controls to the common ones.

    The map is the optimal transport between normal distributions (`gaussian_transport`) from the
    experiment's control observations to the mean of the reference experiments' (means and
    covariances averaged over experiments). It moves all observations of the experiment. An
    experiment with fewer than `MIN_CONTROLS` control observations stays as it is.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing: taken at the experiment's mean.
    experiments : numpy.ndarray
        Shape (n,).
    control, reference : numpy.ndarray
        bool, shape (n,): control observations, and observations of the reference experiments.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    if control is None or reference is None:
        raise ValueError("transport needs the rows of controls and of reference experiments")
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

    Returns
    -------
    numpy.ndarray
        float64, shape (d, d).
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


def untransported(experiments: np.ndarray, control: np.ndarray) -> list[str]:
    """Experiments with too few control observations to be transported."""
    names = np.unique(experiments.astype(str))
    return [str(name) for name in names if (control & (experiments == name)).sum() < MIN_CONTROLS]


def with_corrections(
    embeddings: Embeddings, control: np.ndarray | None, reference: np.ndarray
) -> Embeddings:
    """Add every variant after each correction: ``seed0+zscore``, ``seed0+transport``.

    Parameters
    ----------
    embeddings : Embeddings
    control : numpy.ndarray or None
        Control observations, bool, shape (n,); None without a control condition: no transport.
    reference : numpy.ndarray
        Observations of the training experiments, bool, shape (n,).

    Returns
    -------
    Embeddings
    """
    experiments = embeddings.obs["experiment"].to_numpy(dtype=object)
    features, names = dict(embeddings.features), dict(embeddings.feature_names)
    for correction, function in CORRECTIONS.items():
        if correction == "transport" and control is None:
            continue
        for variant, values in embeddings.features.items():
            corrected = function(values, experiments, control, reference)
            features[f"{variant}+{correction}"] = corrected.astype(np.float32)
            names[f"{variant}+{correction}"] = embeddings.feature_names[variant]
    return replace(embeddings, features=features, feature_names=names)
