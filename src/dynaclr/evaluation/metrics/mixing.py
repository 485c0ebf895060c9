"""How well experiments mix in an embedding: local neighbourhoods, and what a classifier can tell.

Both measures see all observations of the experiments together. Experiments that hold other
biology (another share of responders) separate rightly, so neither is to be pushed to its ideal at
the expense of the classifiers' scores.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.neighbors import NearestNeighbors

from dynaclr.config.metrics import Measure
from dynaclr.evaluation.classifiers.linear import cross_validate
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.projection import standardize
from dynaclr.io.subsample import balanced_subsample

PERPLEXITY = 30.0
# One shuffle is no null; the mean of several hardly moves.
N_SHUFFLES = 5


def mixing_scores(
    features: np.ndarray,
    experiments: np.ndarray,
    groups: np.ndarray,
    *,
    max_rows: int = 4000,
    seed: int = 0,
) -> dict[str, Measure]:
    """Mixing of experiments: iLISI, and how well a classifier tells them apart.

    Each experiment gives at most ``max_rows / n_experiments`` observations; features are scaled
    to unit variance over all of them.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    experiments : numpy.ndarray
        Shape (n,).
    groups : numpy.ndarray
        Lineages, never split between folds, shape (n,).
    max_rows : int
    seed : int
        Decides subsample and folds.

    Returns
    -------
    dict of str to Measure
        ``ilisi`` (0 separate, 1 mixed; expected: the mean with experiments shuffled),
        ``experiment_accuracy`` (mean recall; expected 1 / number of experiments) and
        ``experiment_auroc`` (mean of one against the rest; expected 0.5).
    """
    rows = balanced_subsample(experiments, max_rows, seed)
    names, codes = np.unique(experiments[rows].astype(str), return_inverse=True)
    if len(names) < 2 or len(rows) < 10:
        reason = "one experiment only" if len(names) < 2 else "fewer than ten observations"
        missing = Measure(np.nan, np.nan, len(rows), reason)
        return dict.fromkeys(("ilisi", "experiment_accuracy", "experiment_auroc"), missing)
    labelings = with_shuffles(codes, np.random.default_rng(seed))
    ilisi = scaled_ilisi(lisi(standardize(features[rows]), labelings), len(names))
    return {
        "ilisi": Measure(*by_chance(ilisi), len(rows)),
        **experiment_classifier(features[rows], experiments[rows], groups[rows], seed=seed),
    }


def with_shuffles(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels as they are, and `N_SHUFFLES` times shuffled, shape (1 + N_SHUFFLES, n)."""
    return np.stack([labels, *(rng.permutation(labels) for _ in range(N_SHUFFLES))])


def by_chance(values: np.ndarray) -> tuple[float, float]:
    """Value of the labels, and the mean of their shuffles; see `with_shuffles`."""
    return float(values[0]), float(values[1:].mean())


def lisi(features: np.ndarray, labels: np.ndarray, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Local inverse Simpson's index of each observation.

    The effective number of labels among the neighbours of an observation, the neighbours weighted
    as in `neighbour_weights`: 1 where all share one label, up to the number of labels.
    Korsunsky et al. (2019), Nature Methods 16, 1289, doi 10.1038/s41592-019-0619-0.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    labels : numpy.ndarray
        Shape (..., n).
    perplexity : float
        Effective number of neighbours.

    Returns
    -------
    numpy.ndarray
        float64, shape (..., n).
    """
    codes = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    neighbours, weights = neighbour_weights(features, perplexity)
    return np.apply_along_axis(partial(inverse_simpson, neighbours, weights), -1, codes)


def scaled_ilisi(values: np.ndarray, n_batches: int) -> np.ndarray:
    """Median LISI of batches, scaled to 0 (no mixing) .. 1 (all batches equally, everywhere).

    ``(median - 1) / (n_batches - 1)``: Luecken et al. (2022), Nature Methods 19, 41, doi
    10.1038/s41592-021-01336-8.

    Parameters
    ----------
    values : numpy.ndarray
        LISI of each observation, shape (..., n).
    n_batches : int
        At least 2.
    """
    return (np.median(values, axis=-1) - 1.0) / (n_batches - 1.0)


def neighbour_weights(
    features: np.ndarray, perplexity: float = PERPLEXITY
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of each observation and their weights, which sum to 1.

    The weight falls as ``exp(-beta * distance)`` over the ``3 * perplexity`` nearest neighbours,
    beta chosen for each observation so that the weights' entropy is ``log(perplexity)``. The
    distance is Euclidean and not squared, as in the authors' own LISI program.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    perplexity : float
        Lowered to a third of the other observations where there are too few.

    Returns
    -------
    neighbours : numpy.ndarray
        int64, shape (n, k).
    weights : numpy.ndarray
        float64, shape (n, k).
    """
    n_neighbours = min(int(3 * perplexity), len(features) - 1)
    perplexity = min(perplexity, n_neighbours / 3)
    finder = NearestNeighbors(n_neighbors=n_neighbours, algorithm="brute").fit(features)
    distances, neighbours = finder.kneighbors()
    return neighbours, _weights_of_perplexity(distances, perplexity)


def inverse_simpson(neighbours: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """One over the sum of squared label shares among each observation's weighted neighbours.

    Parameters
    ----------
    neighbours : numpy.ndarray
        Shape (n, k).
    weights : numpy.ndarray
        Shape (n, k), rows sum to 1.
    codes : numpy.ndarray
        Label codes of all observations, shape (n,).

    Returns
    -------
    numpy.ndarray
        float64, shape (n,).
    """
    label_of_neighbour = codes[neighbours]
    shares = [
        np.where(label_of_neighbour == label, weights, 0.0).sum(axis=1)
        for label in np.unique(codes)
    ]
    return 1.0 / np.square(shares).sum(axis=0)


def experiment_classifier(
    features: np.ndarray, experiments: np.ndarray, groups: np.ndarray, *, seed: int = 0
) -> dict[str, Measure]:
    """How well a linear classifier tells the experiment of cells whose lineages it did not see.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    experiments, groups : numpy.ndarray
        Shape (n,); groups are never split between folds.
    seed : int
        Decides the folds.

    Returns
    -------
    dict of str to Measure
        ``experiment_accuracy`` (mean recall) and ``experiment_auroc``.
    """
    # A moderate fixed penalty: nothing is tuned towards telling experiments apart.
    result = cross_validate(features, experiments, groups, strengths=(0.1,), n_folds=3, seed=seed)
    codes = np.searchsorted(np.array(result.classes, dtype=object), experiments)
    n_rows, chance = len(codes), 1.0 / len(result.classes)
    if result.note:
        missing = Measure(np.nan, np.nan, n_rows, result.note)
        return {"experiment_accuracy": missing, "experiment_auroc": missing}
    scores = classification_scores(codes, result.probability, result.classes)
    return {
        "experiment_accuracy": Measure(float(scores["balanced_accuracy"]), chance, n_rows, ""),
        "experiment_auroc": Measure(float(scores["auroc"]), 0.5, n_rows, ""),
    }


def _weights_of_perplexity(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Rows of exponential weights whose entropy is log(perplexity), by bisection on log beta."""
    # Entropy does not change with an offset of the distances; without one nothing underflows.
    shifted = distances - distances.min(axis=1, keepdims=True)
    spread = np.maximum(shifted.mean(axis=1), 1e-12)
    low, high = np.log(1e-6 / spread), np.log(1e6 / spread)
    target = np.log(perplexity)
    for _ in range(60):
        middle = 0.5 * (low + high)
        too_flat = _entropy(shifted, np.exp(middle)) > target
        low, high = np.where(too_flat, middle, low), np.where(too_flat, high, middle)
    weights = np.exp(-np.exp(0.5 * (low + high))[:, None] * shifted)
    return weights / weights.sum(axis=1, keepdims=True)


def _entropy(shifted: np.ndarray, beta: np.ndarray) -> np.ndarray:
    weights = np.exp(-beta[:, None] * shifted)
    total = weights.sum(axis=1)
    return np.log(total) + beta * (weights * shifted).sum(axis=1) / total
