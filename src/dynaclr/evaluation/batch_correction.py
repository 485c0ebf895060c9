"""Batch corrections of a finished embedding, as baselines: z-score and optimal transport.

Each takes features and returns corrected ones, experiment by experiment. Neither uses labels; the
transport uses which observations are controls, as a person correcting batch effects would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.covariance import ledoit_wolf

from dynaclr.evaluation.metrics.scaling import zscore

# Too few control observations of an experiment to estimate a covariance.
MIN_CONTROLS = 10


class Moments(NamedTuple):
    """Mean, shape (d,), and covariance, shape (d, d), of control observations; float64."""

    mean: np.ndarray
    covariance: np.ndarray


def zscore_by_experiment(features: np.ndarray, experiments: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 of every feature within every experiment; a constant one becomes 0.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing, and stays NaN.
    experiments : numpy.ndarray
        Shape (n,).

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


def control_moments(features: np.ndarray, control: np.ndarray) -> Moments | None:
    """Moments of one experiment's control observations; None with fewer than `MIN_CONTROLS`.

    Parameters
    ----------
    features : numpy.ndarray
        Of the experiment, shape (n, d); NaN where missing: taken at the experiment's mean.
    control : numpy.ndarray
        bool, shape (n,).
    """
    controls = _filled(np.asarray(features, dtype=np.float64))[control]
    if len(controls) < MIN_CONTROLS:
        return None
    return Moments(controls.mean(axis=0), ledoit_wolf(controls)[0])


def common_moments(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray
) -> Moments | None:
    """Means and covariances of control observations, averaged over experiments that have enough.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    experiments : numpy.ndarray
        Shape (n,).
    control : numpy.ndarray
        bool, shape (n,).
    """
    parts = (experiments == name for name in np.unique(experiments.astype(str)))
    found = [control_moments(features[here], control[here]) for here in parts]
    known = [moments for moments in found if moments is not None]
    if not known:
        return None
    return Moments(*(np.mean(part, axis=0) for part in zip(*known, strict=True)))


def transport_controls(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray, target: Moments | None
) -> np.ndarray:
    """Move every experiment by the linear map that brings its controls to common ones.

    The map is the optimal transport between normal distributions (`gaussian_transport`) from the
    experiment's control observations to the target. It moves all observations of the experiment.
    An experiment with fewer than `MIN_CONTROLS` control observations stays as it is.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing: taken at the experiment's mean.
    experiments : numpy.ndarray
        Shape (n,).
    control : numpy.ndarray
        bool, shape (n,).
    target : Moments or None
        `common_moments` of the training experiments; without them nothing moves.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    moved = np.array(features, dtype=np.float64)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        moved[here] = _filled(moved[here])
        source = control_moments(moved[here], control[here])
        if source is not None and target is not None:
            matrix = gaussian_transport(source.covariance, target.covariance)
            moved[here] = target.mean + (moved[here] - source.mean) @ matrix
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


def untransported(experiments: np.ndarray, control: np.ndarray) -> list[str]:
    """Experiments with too few control observations to be transported."""
    names = np.unique(experiments.astype(str))
    return [str(name) for name in names if (control & (experiments == name)).sum() < MIN_CONTROLS]


def corrected_variants(
    name: str,
    features: np.ndarray,
    experiments: np.ndarray,
    control: np.ndarray | None,
    target: Moments | None,
) -> dict[str, np.ndarray]:
    """A variant, and itself after corrections: ``seed0``, ``seed0+zscore``, ``seed0+transport``.

    Parameters
    ----------
    name : str
        Of the variant.
    features : numpy.ndarray
        Shape (n, d).
    experiments : numpy.ndarray
        Shape (n,).
    control : numpy.ndarray or None
        Control observations, bool, shape (n,); None without a control condition: no transport.
    target : Moments or None
        What `transport_controls` moves to.

    Returns
    -------
    dict of str to numpy.ndarray
        float32, shape (n, d).
    """
    variants = {name: features, f"{name}+zscore": zscore_by_experiment(features, experiments)}
    if control is not None:
        moved = transport_controls(features, experiments, control, target)
        variants[f"{name}+transport"] = moved
    return {key: values.astype(np.float32, copy=False) for key, values in variants.items()}
